"""What a configuration says twice, or against itself.

Works on the plain TOML data and skips whatever is malformed, so that these errors are reported
together with those of the single keys, not one correction later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lb_switch.config.schema import parse_endpoint, parse_host, parse_snats
from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.harmless import shortened

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One error: where (keys and list indices) and what, in one line."""

    path: KeyPath
    text: str


@dataclass(frozen=True)
class _Group:
    """What could be read of one virtual server."""

    path: KeyPath
    table: dict[str, Any]
    vip: Endpoint | None
    snats: tuple[IPAddress, ...]
    real_servers: list[tuple[KeyPath, Endpoint]]

    @property
    def protocol(self) -> str:
        return str(self.table.get("protocol", "tcp"))


def find_contradictions(data: dict[str, Any]) -> Iterator[Problem]:
    """Yield every problem that involves more than one key of `data` (a parsed TOML file)."""
    groups = [_read_group(index, table) for index, table in _tables(data.get("virtual_server"))]
    yield from _repeated_names(groups)
    yield from _repeated_hosts(data.get("hosts"))
    yield from _repeated_virtual_servers(groups)
    captured = _captured_addresses(groups)
    for group in groups:
        yield from _real_servers(group, captured)
        yield from _source_address(group)
        yield from _persistence(group)
        yield from _one_packet(group)
        yield from _health_check(group)


def _repeated_names(groups: list[_Group]) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for group in groups:
        name = group.table.get("name")
        if not isinstance(name, str):
            continue
        if name in first:
            text = f"{name!r} is already the name of {show_path(first[name])}"
            yield Problem((*group.path, "name"), text)
        first.setdefault(name, group.path)


def _repeated_hosts(hosts: object) -> Iterator[Problem]:
    first: dict[IPAddress, str] = {}
    for name, value in hosts.items() if isinstance(hosts, dict) else ():
        for ip in _host(value):
            if first.setdefault(ip, name) != name:
                yield Problem(("hosts", name), f"{ip} is already {show_path(('hosts', first[ip]))}")


def _repeated_virtual_servers(groups: list[_Group]) -> Iterator[Problem]:
    first: dict[tuple[Endpoint, str], KeyPath] = {}
    for group in groups:
        if group.vip is None:
            continue
        key = (group.vip, group.protocol)
        if key in first:
            text = f"{group.protocol} {group.vip} is already served by {show_path(first[key])}"
            yield Problem((*group.path, "address"), text)
        first.setdefault(key, group.path)


def _captured_addresses(groups: list[_Group]) -> dict[IPAddress, str]:
    """Return what the switch captures, with the word for it."""
    captured = {ip: "a snat address" for group in groups for ip in group.snats}
    captured.update({group.vip.ip: "a VIP" for group in groups if group.vip is not None})
    return captured


def _real_servers(group: _Group, captured: dict[IPAddress, str]) -> Iterator[Problem]:
    first: dict[Endpoint, KeyPath] = {}
    for path, endpoint in group.real_servers:
        where = (*path, "address")
        if endpoint in first:
            yield Problem(where, f"{endpoint} is already {show_path(first[endpoint])}")
        first.setdefault(endpoint, path)
        if endpoint.ip in captured:
            kind = captured[endpoint.ip]
            yield Problem(where, f"{endpoint.ip} is {kind} of this switch: packets would loop")
        if group.vip is not None and endpoint.ip.version != group.vip.ip.version:
            text = f"{endpoint} is IPv{endpoint.ip.version}, but the VIP {group.vip.ip} is not"
            yield Problem(where, text)


def _source_address(group: _Group) -> Iterator[Problem]:
    if not group.snats:
        return
    where = (*group.path, "snat")
    if group.table.get("forward", "nat") == "nat":
        yield Problem(where, 'has no effect without forward = "full_nat"')
    for ip in group.snats:
        if group.vip is not None and ip.version != group.vip.ip.version:
            yield Problem(where, f"{ip} is IPv{ip.version}, but the VIP {group.vip.ip} is not")


def _persistence(group: _Group) -> Iterator[Problem]:
    prefix = group.table.get("persistence_prefix", 0)
    if not isinstance(prefix, int) or prefix <= 0:
        return
    where = (*group.path, "persistence_prefix")
    if group.table.get("persistence_timeout", 0) == 0:
        yield Problem(where, "has no effect without persistence_timeout")
    if group.vip is not None and 32 < prefix <= 128 and group.vip.ip.version == 4:
        yield Problem(where, f"{prefix} is more than the 32 bits of an IPv4 address")


def _one_packet(group: _Group) -> Iterator[Problem]:
    if group.table.get("one_packet") is not True:
        return
    where = (*group.path, "one_packet")
    if group.protocol == "tcp":
        yield Problem(where, 'is for protocol = "udp": a tcp connection is never one packet')
    if group.table.get("forward") == "full_nat":
        text = 'cannot go with forward = "full_nat", whose source ports belong to connections'
        yield Problem(where, text)


def _health_check(group: _Group) -> Iterator[Problem]:
    check = group.table.get("health_check")
    if not isinstance(check, dict):
        return
    kind = check.get("kind")
    if kind in ("http", "https") and group.protocol == "udp" and check.get("port", 0) == 0:
        text = f"{kind!r} cannot check a udp port: use icmp, or name a TCP port with `port`"
        yield Problem((*group.path, "health_check", "kind"), text)


def _read_group(index: int, table: dict[str, Any]) -> _Group:
    path: KeyPath = ("virtual_server", index)
    real_servers = []
    for number, entry in _tables(table.get("real_server")):
        endpoint = _endpoint(entry.get("address"))
        if endpoint is not None:
            real_servers.append(((*path, "real_server", number), endpoint))
    return _Group(path, table, _endpoint(table.get("address")), _snats(table), real_servers)


def _tables(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list):
        yield from ((i, entry) for i, entry in enumerate(value) if isinstance(entry, dict))


def _endpoint(value: object) -> Endpoint | None:
    try:
        return parse_endpoint(value)
    except ValueError:
        return None


def _snats(table: dict[str, Any]) -> tuple[IPAddress, ...]:
    try:
        return parse_snats(table.get("snat", ""))
    except ValueError:
        return ()


def _host(value: object) -> tuple[IPAddress, ...]:
    try:
        return parse_host(value)
    except ValueError:
        return ()


def show_path(path: KeyPath) -> str:
    """Write a key path as TOML's readers know it: `virtual_server[0].real_server[1].address`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = shortened(part)
            key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
            text += f".{key}" if text else key
    return text
