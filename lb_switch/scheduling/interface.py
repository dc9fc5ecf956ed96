"""What a scheduler is: given a new connection's flow key, it picks one of the usable servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lb_switch.servers import RealServer


class Scheduler(Protocol):
    """Pick the real server of a new connection.  No I/O, no clock, no randomness."""

    name: str

    def choose(self, key: bytes, servers: Sequence[RealServer]) -> RealServer:
        """Return one of `servers` (not empty; all usable; in configured order).

        `key` is the connection's original flow key: source address, destination address,
        source port, destination port in network order (12 bytes for IPv4, 36 for IPv6).
        """
        ...

    def explain(self, key: bytes, servers: Sequence[RealServer]) -> str:
        """Say in one line what `choose` would pick now, and why.  Changes nothing."""
        ...
