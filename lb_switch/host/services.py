"""The part of the configuration that the host's rules depend on, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.engine.servers import RealServer, VirtualServer


class Service(NamedTuple):
    """A VIP and port, its protocol (6 or 17), the endpoints of its real servers.

    `snats`: with full NAT, the addresses that the real servers answer to; empty without.
    """

    vip: Endpoint
    protocol: int
    real_servers: tuple[Endpoint, ...]
    snats: tuple[IPAddress, ...] = ()

    @property
    def captured(self) -> tuple[IPAddress, ...]:
        """The addresses whose packets all belong to the switch: the VIP, and `snats`."""
        return (self.vip.ip, *self.snats)


class Services:
    """Turns virtual servers into `Service` values, and remembers who still has connections.

    A real server (or a whole virtual server) that was removed keeps its rules while connections
    of it live: an edit of the configuration cuts no conversation.
    """

    def __init__(self) -> None:
        self._known: dict[RealServer, VirtualServer] = {}

    def of(self, virtual_servers: Iterable[VirtualServer]) -> tuple[Service, ...]:
        """Return these virtual servers' services, and those whose connections linger."""
        groups: dict[Service, dict[Endpoint, None]] = {}
        known: dict[RealServer, VirtualServer] = {}
        for virtual_server in virtual_servers:
            group = groups.setdefault(_without_servers(virtual_server), {})
            for real_server in virtual_server.real_servers:
                group[real_server.endpoint] = None
                known[real_server] = virtual_server
        for real_server, virtual_server in self._known.items():
            if real_server not in known and real_server.has_connections:
                group = groups.setdefault(_without_servers(virtual_server), {})
                group[real_server.endpoint] = None
                known[real_server] = virtual_server
        self._known = known
        return tuple(
            service._replace(real_servers=tuple(group)) for service, group in groups.items()
        )


def _without_servers(virtual_server: VirtualServer) -> Service:
    snats = virtual_server.snats if virtual_server.forward == "full_nat" else ()
    return Service(virtual_server.endpoint, virtual_server.protocol, (), snats)
