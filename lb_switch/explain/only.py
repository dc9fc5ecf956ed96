"""Narrowing what is explained: to a kind of event, to hosts, to ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from lb_switch.explain.describe import summarise
from lb_switch.stream.schema import (
    ConnectionRecord,
    PacketRecord,
    ProbeRecord,
    Record,
    SentRecord,
    ServerRecord,
    SettingsRecord,
    VirtualServerRecord,
)

KINDS = ("connections", "packets", "servers")
"""connections: packets that open, change, end or are refused a connection, and what ends without
one; packets: each of them; servers: their health, state and weight, and who comes and goes."""


class UnknownWordError(ValueError):
    """A word is no kind, no port and no host."""


class Only:
    """What `--only` words ask for: one of the kinds named, of any host named, of any port named.

    `hosts` are machines' names by address, as a recording's header has them.  Raises
    UnknownWordError.
    """

    def __init__(self, words: Iterable[str], hosts: Mapping[str, str]) -> None:
        self._kinds: set[str] = set()
        self._addresses: set[str] = set()
        self._ports: set[str] = set()
        for word in words:
            if word in KINDS:
                self._kinds.add(word)
            elif word.isascii() and word.isdigit() and 0 < int(word) < 1 << 16:
                self._ports.add(word)
            else:
                self._addresses |= _addresses(word, hosts)

    def wants(self, record: Record) -> bool:
        """Whether a record is told.  What says that events are missing always is."""
        if not isinstance(
            record,
            PacketRecord
            | SentRecord
            | ConnectionRecord
            | ServerRecord
            | VirtualServerRecord
            | SettingsRecord
            | ProbeRecord,
        ):
            return True
        if self._kinds and not self._is_of_kind(record):
            return False
        if not self._addresses and not self._ports:
            return True
        places = [_split(each) for each in _places(record)]
        addresses = {address for address, _ in places}
        ports = {port for _, port in places}
        return (not self._addresses or not self._addresses.isdisjoint(addresses)) and (
            not self._ports or not self._ports.isdisjoint(ports)
        )

    def _is_of_kind(self, record: Record) -> bool:
        kinds = self._kinds
        if isinstance(record, ServerRecord | VirtualServerRecord | SettingsRecord | ProbeRecord):
            return "servers" in kinds
        if isinstance(record, ConnectionRecord):
            return "connections" in kinds
        if "packets" in kinds:
            return True
        if isinstance(record, PacketRecord) and "connections" in kinds:
            refused = record.virtual_server is not None and record.verdict in {"reply", "drop"}
            return refused or record.state != record.old_state
        return False


def _addresses(word: str, hosts: Mapping[str, str]) -> set[str]:
    named = {address for address, name in hosts.items() if name == word}
    if named:
        return named
    try:
        return {str(ipaddress.ip_address(word.strip("[]")))}
    except ValueError:
        known = ", ".join(dict.fromkeys(hosts.values()))
        hosts_ = f" or a host ({known})" if known else " or an address"
        raise UnknownWordError(
            f"--only {word}: is none of {', '.join(KINDS)}, a port{hosts_}"
        ) from None


def _split(place: str) -> tuple[str, str]:
    """Split an endpoint, or an address without a port."""
    try:
        return str(ipaddress.ip_address(place)), ""
    except ValueError:
        address, _, port = place.rpartition(":")
        return address.strip("[]"), port


def _places(record: Record) -> list[str]:
    """Return the endpoints that a record names."""
    if isinstance(record, PacketRecord):
        before = summarise(record.bytes_before, record.length)
        after = summarise(record.bytes_after, record.length)
        return [before.source, before.destination, after.source, after.destination]
    if isinstance(record, SentRecord | ConnectionRecord):
        connection = record.connection
        ends = [] if connection is None else [connection.client, connection.virtual]
        return ends if connection is None else [*ends, connection.source, connection.real]
    if isinstance(record, ServerRecord):
        return [record.real_server.address]
    if isinstance(record, VirtualServerRecord):
        server = [] if record.real_server is None else [record.real_server]
        return [record.virtual_server.address, *server]
    return [record.real_server] if isinstance(record, ProbeRecord) else []
