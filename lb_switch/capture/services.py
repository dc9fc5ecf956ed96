"""The part of the configuration that the host's rules depend on, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lb_switch.packet.endpoint import Endpoint
from lb_switch.servers import RealServer, VirtualServer


class Service(NamedTuple):
    """A VIP and port, its protocol (6 or 17), and the endpoints of its real servers."""

    vip: Endpoint
    protocol: int
    real_servers: tuple[Endpoint, ...]


class Services:
    """Turns virtual servers into `Service` values, and remembers who still has connections.

    A real server (or a whole virtual server) that was removed keeps its rules while connections
    of it live: an edit of the configuration cuts no conversation.
    """

    def __init__(self) -> None:
        self._known: dict[RealServer, VirtualServer] = {}

    def of(self, virtual_servers: Iterable[VirtualServer]) -> tuple[Service, ...]:
        """Return these virtual servers' services, and those whose connections linger."""
        current = list(virtual_servers)
        groups: dict[tuple[Endpoint, int], dict[Endpoint, None]] = {}
        known: dict[RealServer, VirtualServer] = {}
        for virtual_server in current:
            group = groups.setdefault((virtual_server.endpoint, virtual_server.protocol), {})
            for real_server in virtual_server.real_servers:
                group[real_server.endpoint] = None
                known[real_server] = virtual_server
        for real_server, virtual_server in self._known.items():
            if real_server not in known and real_server.active + real_server.inactive > 0:
                group = groups.setdefault((virtual_server.endpoint, virtual_server.protocol), {})
                group[real_server.endpoint] = None
                known[real_server] = virtual_server
        self._known = known
        return tuple(
            Service(vip, protocol, tuple(group)) for (vip, protocol), group in groups.items()
        )
