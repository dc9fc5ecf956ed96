"""The load of one virtual server in a recording, and what its real servers went through meanwhile.

A TCP connection lasts from its SYN until the first FIN or RST, or until it leaves the table; a UDP
conversation from its first datagram to its last.  What began before the recording is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lb_switch.compare.load import Arrival, Load, ServerChange
from lb_switch.compare.run import ComparedGroup
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.servers import AdminState
from lb_switch.stream.schema import (
    CompleteRecord,
    ConnectionRecord,
    DroppedRecord,
    EndRecord,
    Header,
    HostRecord,
    LossesRecord,
    PacketRecord,
    RealServerEntry,
    Record,
    ServerRecord,
    SettingsRecord,
    VirtualServerEntry,
    VirtualServerRecord,
)

if TYPE_CHECKING:
    from lb_switch.config.schema import Config

_GOING_ON = {"SYN_RECV", "ESTABLISHED", "UDP"}
_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}


_OF_NO_GROUP = (
    EndRecord,
    CompleteRecord,
    HostRecord,
    LossesRecord,
    VirtualServerRecord,
    SettingsRecord,
)


class Recorded(NamedTuple):
    """`numbers` are those that the recording gave to the connections of the load, in its order."""

    load: Load
    group: ComparedGroup
    numbers: tuple[int, ...]


def recorded(
    header: Header, records: Iterable[Record], virtual_server: VirtualServerEntry, about: str
) -> Recorded:
    """Read the load out of a recording.  Raises what `records` raises."""
    reader = _Reader(header, virtual_server)
    for record in records:
        reader.note(record)
    return reader.done(about)


class _Reader:
    def __init__(self, header: Header, virtual_server: VirtualServerEntry) -> None:
        self._begin = self._now = header.time
        self._entry = virtual_server
        self._servers: dict[str, int] = {}
        self._weights: list[int] = []
        self._changes: list[ServerChange] = []
        for server in virtual_server.real_servers:
            self._change(header.time, server)
        self._told = 0
        """Changes that the recording tells of."""
        self._arrivals: list[Arrival] = []
        self._numbers: list[int] = []
        self._open: dict[int, int] = {}
        """The connections that still go on: their numbers, and their places in the load."""
        self._missing = 0

    def note(self, record: Record) -> None:
        if isinstance(record, DroppedRecord):
            self._missing += record.count
            return
        self._now = max(self._now, record.time)
        if isinstance(record, _OF_NO_GROUP):
            return
        if record.virtual_server != self._entry.name:
            return
        if isinstance(record, ServerRecord):
            self._told += 1
            self._change(record.time, record.real_server)
        elif isinstance(record, ConnectionRecord):
            self._connection(record)
        elif isinstance(record, PacketRecord) and record.connection is not None:
            place = self._open.get(record.connection.number)
            if place is not None and record.connection.protocol == "udp":
                self._lasts(place, record.time)

    def _connection(self, record: ConnectionRecord) -> None:
        connection = record.connection
        if record.stage == "opened":
            if connection.real not in self._servers:  # it came while nobody told
                entry = RealServerEntry(
                    address=connection.real,
                    weight=1,
                    state="ready",
                    healthy=True,
                    active=0,
                    inactive=0,
                    connections=0,
                )
                self._change(record.time, entry)
            self._open[connection.number] = len(self._arrivals)
            self._numbers.append(connection.number)
            client = Endpoint.parse(connection.client)
            self._arrivals.append(Arrival(record.time - self._begin, 0.0, client))
        elif record.stage == "closed" or record.state not in _GOING_ON:
            place = self._open.pop(connection.number, None)
            if place is not None and connection.protocol == "tcp":
                self._lasts(place, record.time)

    def _change(self, time: float, server: RealServerEntry) -> None:
        index = self._servers.get(server.address)
        if index is None:
            index = self._servers[server.address] = len(self._servers)
            self._weights.append(server.weight)
            if time > self._begin:  # until now there was no such server
                away = ServerChange(0.0, index, False, AdminState.READY, server.weight)
                self._changes.insert(0, away)
        state = AdminState(server.state)
        change = ServerChange(time - self._begin, index, server.healthy, state, server.weight)
        self._changes.append(change)

    def _lasts(self, place: int, until: float) -> None:
        arrival = self._arrivals[place]
        self._arrivals[place] = arrival._replace(duration=until - self._begin - arrival.start)

    def done(self, about: str) -> Recorded:
        for place in self._open.values():
            if self._entry.protocol == "tcp":
                self._lasts(place, self._now)
        remarks = [about]
        if self._told:
            changes = "1 change" if self._told == 1 else f"{self._told:,} changes"
            remarks.append(f"{changes} of its real servers")
        if self._missing:
            remarks.append(f"{self._missing:,} events are missing")
        load = Load(
            tuple(self._arrivals),
            self._now - self._begin if self._arrivals else 0.0,
            ", ".join(remarks),
            tuple(self._changes),
        )
        group = ComparedGroup(
            self._entry.name,
            Endpoint.parse(self._entry.address),
            _NUMBERS[self._entry.protocol],
            tuple(
                (Endpoint.parse(address), weight)
                for address, weight in zip(self._servers, self._weights, strict=True)
            ),
        )
        return Recorded(load, group, tuple(self._numbers))


def like(group: ComparedGroup, config: Config | None) -> ComparedGroup:
    """Return the group with what a recording does not tell: how its virtual server hashes."""
    if config is None:
        return group
    hash_on = {table.name: table.hash_on for table in config.virtual_server}
    return replace(
        group,
        hash_on=hash_on.get(group.name, group.hash_on),
        hash_key=config.switch.hash_key,
    )


def with_weights(
    load: Load, group: ComparedGroup, weights: Sequence[int]
) -> tuple[Load, ComparedGroup]:
    """Return both with real servers that have these weights and keep them."""
    changes = tuple(change._replace(weight=weights[change.server]) for change in load.changes)
    servers = zip((endpoint for endpoint, _ in group.real_servers), weights, strict=True)
    return replace(load, changes=changes), replace(group, real_servers=tuple(servers))
