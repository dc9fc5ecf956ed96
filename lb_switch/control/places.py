"""Who is meant where a name stands in the place of an address."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from lb_switch.control.messages import RequestError
from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.engine.servers import RealServer, VirtualServer

Hosts = Mapping[str, tuple[IPAddress, ...]]
"""Addresses of machines by name: the configuration's table `hosts`."""

_ENDPOINT = re.compile(r"\[.*|[0-9.]+:.*")


def may_be_name(text: str) -> bool:
    """Whether this is a name, or a host, and not meant as ADDRESS:PORT."""
    return _ENDPOINT.fullmatch(text) is None


def virtual_server(name: str, groups: Iterable[VirtualServer]) -> VirtualServer:
    """Return the virtual server of this name.  Raises RequestError."""
    groups = tuple(groups)
    for each in groups:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in groups) or "none"
    raise RequestError(f"there is no virtual server {name!r}: there are {known}")


def real_server(
    word: str, virtual_server: VirtualServer, servers: Iterable[RealServer], hosts: Hosts
) -> RealServer:
    """Return the one of `servers` that is on a host, `word`: NAME or NAME:PORT, or an address.

    Raises RequestError if there is none, or several.
    """
    addresses, port = _host(word, hosts)
    servers = tuple(servers)
    found = [
        each
        for each in servers
        if each.endpoint.ip in addresses and port in {None, each.endpoint.port}
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(_shown(each.endpoint, hosts) for each in servers) or "none"
        raise RequestError(f"{virtual_server.name} has no real server {word!r}: it has {known}")
    several = ", ".join(str(each.endpoint) for each in found)
    raise RequestError(f"{word!r} may be {several}: say which, with its port")


def endpoint(word: str, version: int, hosts: Hosts) -> Endpoint:
    """Return address and port of NAME:PORT, for a group of this IP version.

    Raises RequestError.
    """
    addresses, port = _host(word, hosts)
    fitting = [each for each in addresses if each.version == version]
    if port is None:
        raise RequestError(f"{word!r} has no port: {word}:80, for example")
    if len(fitting) != 1:
        known = ", ".join(hosts) or "none"
        has = "several IPv" if fitting else "no IPv"
        raise RequestError(
            f"the host {word.rpartition(':')[0]!r} has {has}{version} address"
            f"{'es' if fitting else ''} in the table hosts, which names {known}"
        )
    return Endpoint(fitting[0], port)


def host(word: str, hosts: Hosts) -> tuple[IPAddress, ...]:
    """Return the addresses of a host: its name or an address.  Raises RequestError."""
    addresses, port = _host(word, hosts)
    if port is not None or not addresses:
        known = ", ".join(hosts) or "none"
        raise RequestError(f"there is no host {word!r}: the table hosts names {known}")
    return addresses


def _host(word: str, hosts: Hosts) -> tuple[tuple[IPAddress, ...], int | None]:
    try:
        return (ipaddress.ip_address(word),), None
    except ValueError:
        pass
    if word in hosts:
        return hosts[word], None
    name, _, port = word.rpartition(":")
    if port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16:
        return hosts.get(name, ()), int(port)
    return (), None


def _shown(endpoint: Endpoint, hosts: Hosts) -> str:
    names = [name for name, addresses in hosts.items() if endpoint.ip in addresses]
    return f"{names[0]} ({endpoint})" if names else str(endpoint)
