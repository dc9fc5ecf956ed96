"""What leaves the engine while somebody listens: values, never strings for a screen."""

from __future__ import annotations

from typing import NamedTuple

from lb_switch.connections.connection import Connection
from lb_switch.connections.tcp_state import Direction, State
from lb_switch.servers import RealServer, VirtualServer
from lb_switch.verdict import Verdict


class PacketEvent(NamedTuple):
    """One packet was handled.

    `connection`, `direction` and `state` (after the packet) are None where the packet belongs to
    no connection, `virtual_server` also where it matched none.
    """

    time: float
    verdict: Verdict
    virtual_server: VirtualServer | None = None
    connection: Connection | None = None
    direction: Direction | None = None
    state: State | None = None


class ServerEvent(NamedTuple):
    """A real server changed: its health, its administrative state or its weight.

    `cause` is one line for people: "connect refused", "timeout after 1.0 s", "set by operator".
    """

    time: float
    virtual_server: VirtualServer
    real_server: RealServer
    cause: str


Event = PacketEvent | ServerEvent
