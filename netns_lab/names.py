"""Who is meant where a name or an address is given.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netns_lab.errors import UnknownNameError
from netns_lab.topology import Host, ServiceKind, Topology, VirtualServer

_SCHEMES: dict[ServiceKind, str] = {
    "http": "http",
    "https": "https",
    "tcp-echo": "tcp",
    "udp-echo": "udp",
}


def machine(topology: Topology, word: str) -> Host:
    """Return the host or router of this name, or with this address.  Raises UnknownNameError."""
    return _machine(topology.machines, word, "host")


def server(topology: Topology, word: str) -> Host:
    """Return the host that offers a service.  Raises UnknownNameError."""
    return _machine(topology.servers, word, "server")


def virtual_server(topology: Topology, word: str) -> VirtualServer:
    """Return the virtual server of this name, or at this VIP:PORT.  Raises UnknownNameError.

    Where TCP and UDP are served at one VIP:PORT, the first is meant.
    """
    for each in topology.virtual_servers:
        if word in {each.name, each.endpoint}:
            return each
    known = ", ".join(each.name for each in topology.virtual_servers)
    raise UnknownNameError(f"no virtual server {word!r} in this lab: {known}")


def url(topology: Topology, virtual_server: VirtualServer, path: str = "/") -> str:
    """Return the URL at which its service is asked: http://, https://, or an echo, tcp://, udp://.

    Raises UnknownNameError if its real servers offer nothing that the lab can ask.
    """
    port = virtual_server.real_port or virtual_server.port
    transport = virtual_server.protocol
    for name in virtual_server.real_servers:
        for service in topology.host(name).services:
            if service.port == port and (service.kind == "udp-echo") == (transport == "udp"):
                return f"{_SCHEMES[service.kind]}://{virtual_server.endpoint}{path}"
    raise UnknownNameError(f"{virtual_server.name}: the lab has no client for this service")


def _machine(among: Iterable[Host], word: str, kind: str) -> Host:
    among = tuple(among)
    for each in among:
        if each.name == word or _is_address_of(each, word):
            return each
    known = ", ".join(each.name for each in among)
    raise UnknownNameError(f"no {kind} {word!r} in this lab: {known}")


def _is_address_of(host: Host, word: str) -> bool:
    try:
        return ipaddress.ip_address(word) in host.ips
    except ValueError:
        return False
