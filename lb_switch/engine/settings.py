"""What holds for the whole switch, whatever its virtual servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.nat.answer_limit import AnswersPerSecond
from lb_switch.engine.nat.port_pool import FIRST_PORT, LAST_PORT


@dataclass(frozen=True)
class Settings:
    """Bounds, timeouts in seconds by state, and what becomes of TCP of no connection."""

    max_connections: int = 1_000_000
    max_half_open_per_source: int = 0
    """0: no limit but that of the table."""
    unknown_tcp: Literal["reset", "drop", "schedule"] = "reset"
    answers_per_second: AnswersPerSecond = field(default_factory=AnswersPerSecond)
    timeouts: dict[State, float] = field(default_factory=lambda: dict(DEFAULT_TIMEOUTS))
    snat_ports: tuple[int, int] = (FIRST_PORT, LAST_PORT)
    """Full NAT: the first and the last source port towards a real server."""
    port_secret: bytes = b""
    """Full NAT: what the order of source ports depends on.  Whoever runs the switch draws it at
    random; the same one gives the same ports."""
