"""What is different between the running configuration and the one that shall run.

The identity of a virtual server is its VIP, port and protocol, that of a real server its RIP and
port within a group, as in IPVS: everything else about them may change.
"""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.config.schema import Config, RealServerTable, Table, VirtualServerTable

CHANGEABLE = frozenset(
    {
        "answers_per_second",
        "hash_key",
        "max_connections",
        "max_half_open_per_source",
        "timeouts",
        "unknown_tcp",
    }
)
"""Keys of [switch] that may change while the switch runs."""


def refused(old: Config, new: Config) -> list[str]:
    """Return a line for each change that needs a restart."""
    return [
        f"switch.{key}: {was!r} cannot become {becomes!r} while the switch runs: restart it"
        for key, was, becomes in _changed_keys(old.switch, new.switch)
        if key.partition(".")[0] not in CHANGEABLE
    ]


def describe(old: Config, new: Config) -> list[str]:
    """Return a line for each change."""
    lines = [
        f"switch.{key}: {was!r} -> {to!r}" for key, was, to in _changed_keys(old.switch, new.switch)
    ]
    before = {(table.address, table.protocol): table for table in old.virtual_server}
    after = {(table.address, table.protocol): table for table in new.virtual_server}
    lines += [
        f"{table.name}: virtual server {table.protocol} {table.address} removed"
        for place, table in before.items()
        if place not in after
    ]
    for place, table in after.items():
        was = before.get(place)
        lines += _added(table) if was is None else _changes(was, table)
    if not lines and old != new:
        lines.append("order changed")
    return lines


def _added(table: VirtualServerTable) -> Iterator[str]:
    yield f"{table.name}: virtual server {table.protocol} {table.address} added ({table.scheduler})"
    for server in table.real_server:
        yield f"{table.name}: real server {server.address} added (weight {server.weight})"


def _changes(old: VirtualServerTable, new: VirtualServerTable) -> Iterator[str]:
    for key, was, becomes in _changed_keys(old, new):
        yield f"{old.name}: {key} {was!r} -> {becomes!r}"
    before = {server.address: server for server in old.real_server}
    after = {server.address: server for server in new.real_server}
    for address in before:
        if address not in after:
            yield f"{new.name}: real server {address} removed"
    for address, server in after.items():
        was = before.get(address)
        if was is None:
            yield f"{new.name}: real server {address} added (weight {server.weight})"
        elif was.weight != server.weight:
            yield f"{new.name}: real server {address} weight {was.weight} -> {server.weight}"


def _changed_keys(old: Table, new: Table, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield key path, old and new value of every key that differs, real servers aside."""
    for key in type(old).model_fields:
        was, becomes = getattr(old, key), getattr(new, key)
        if isinstance(was, Table):
            yield from _changed_keys(was, becomes, f"{prefix}{key}.")
        elif was != becomes and not _is_group(was, becomes):
            yield f"{prefix}{key}", was, becomes


def _is_group(*values: object) -> bool:
    return any(
        isinstance(each, RealServerTable)
        for value in values
        if isinstance(value, tuple)
        for each in value
    )
