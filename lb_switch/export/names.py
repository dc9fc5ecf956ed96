"""Names for the addresses in a capture file: of VIPs, real servers and clients.

A VIP is called as its virtual server, a real server `web-rs1` by its place in the group, a client
`client1` in the order in which they came; what the configuration's table of hosts says goes first.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping

from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.stream.schema import ConnectionEntry, VirtualServerEntry

MAX_CLIENTS = 1000
"""Clients that get a name; all others stay numbers, so that a long run stays bounded."""

Named = list[tuple[IPAddress, str]]


class Names:
    """Hands out each address with its name once.  `hosts`, by address, outrank all other names."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self._hosts = {ipaddress.ip_address(text): name for text, name in hosts.items()}
        self._told: set[IPAddress] = set()
        self._clients = 0

    def of_groups(self, virtual_servers: Iterable[VirtualServerEntry]) -> Named:
        """Return names of VIPs and real servers that were not told of yet."""
        virtual_servers = tuple(virtual_servers)
        vips: dict[IPAddress, list[str]] = {}
        for virtual_server in virtual_servers:
            vips.setdefault(_ip(virtual_server.address), []).append(virtual_server.name)
        fresh = [(ip, "+".join(names)) for ip, names in vips.items()]
        for virtual_server in virtual_servers:
            for number, real_server in enumerate(virtual_server.real_servers, 1):
                fresh.append((_ip(real_server.address), f"{virtual_server.name}-rs{number}"))
        return self._note(fresh)

    def of_client(self, connection: ConnectionEntry) -> Named:
        """Return the name of a connection's client, if it was not told of yet."""
        client = _ip(connection.client)
        if client in self._told or self._clients >= MAX_CLIENTS:
            return []
        self._clients += 1
        return self._note([(client, f"client{self._clients}")])

    def _note(self, names: Named) -> Named:
        fresh: Named = []
        for ip, name in names:
            if ip not in self._told:
                self._told.add(ip)
                fresh.append((ip, self._hosts.get(ip, name)))
        return fresh


@functools.lru_cache(maxsize=4096)
def _ip(endpoint: str) -> IPAddress:
    return Endpoint.parse(endpoint).ip
