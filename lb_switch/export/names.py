"""Names for the addresses in a capture file: of VIPs, real servers and clients.

A VIP is called as its virtual server, a real server `web-rs1` by its place in the group, a client
`client1` in the order in which they came; what the configuration's table of hosts says goes first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lb_switch.engine.events import PacketEvent
from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.engine.packet.flow_key import FlowKey

if TYPE_CHECKING:
    from lb_switch.engine.servers import VirtualServer

MAX_CLIENTS = 1000
"""Clients that get a name; all others stay numbers, so that a long run stays bounded."""

Named = list[tuple[IPAddress, str]]


class Names:
    """Hands out each address with its name once.  `hosts` outranks all other names."""

    def __init__(self, hosts: Mapping[IPAddress, str] | None = None) -> None:
        self._hosts = {ip.packed: name for ip, name in (hosts or {}).items()}
        self._told: dict[bytes, str] = {}
        self._clients = 0

    def of_group(self, virtual_servers: Iterable[VirtualServer]) -> Named:
        """Return names of VIPs and real servers that were not told of yet."""
        virtual_servers = tuple(virtual_servers)
        vips: dict[IPAddress, list[str]] = {}
        for virtual_server in virtual_servers:
            vips.setdefault(virtual_server.endpoint.ip, []).append(virtual_server.name)
        fresh = [(ip, "+".join(names)) for ip, names in vips.items()]
        for virtual_server in virtual_servers:
            for number, real_server in enumerate(virtual_server.real_servers, 1):
                fresh.append((real_server.endpoint.ip, f"{virtual_server.name}-rs{number}"))
        return self._note(fresh)

    def of_packet(self, event: PacketEvent) -> Named:
        """Return the names that this packet brings: of its client, or of a group that grew."""
        connection = event.connection
        if connection is None:
            return []
        fresh: Named = []
        virtual_server = event.virtual_server
        if virtual_server and connection.real_server.endpoint.ip.packed not in self._told:
            fresh += self.of_group([virtual_server])
        client = FlowKey.of(connection.original_key).source
        if client not in self._told and self._clients < MAX_CLIENTS:
            self._clients += 1
            fresh += self._note([(ipaddress.ip_address(client), f"client{self._clients}")])
        return fresh

    def forget(self, names: Named) -> None:
        """Take back what could not be written: it will be told of again."""
        for ip, _ in names:
            del self._told[ip.packed]

    def _note(self, names: Named) -> Named:
        fresh: Named = []
        for ip, name in names:
            if ip.packed not in self._told:
                self._told[ip.packed] = self._hosts.get(ip.packed, name)
                fresh.append((ip, self._told[ip.packed]))
        return fresh
