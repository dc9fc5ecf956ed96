"""The part of a recording that is wanted: from a time on, some packets, some connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lb_switch.explain.describe import summarise
from lb_switch.explain.endings import Endings
from lb_switch.explain.who import address_of
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import (
    ConnectionEntry,
    ConnectionRecord,
    DroppedRecord,
    EndRecord,
    Header,
    PacketRecord,
    Record,
    SentRecord,
    ServerRecord,
)


class NothingSelectedError(Exception):
    """Nothing of a recording is wanted.  `str()` is one clear line."""


@dataclass(frozen=True)
class Selection:
    """Which part of a recording is wanted: seek by time, packet number, connection."""

    start: float = 0.0
    """Seconds since the recording began."""
    first_packet: int | None = None
    last_packet: int | None = None
    connection: str = ""
    """Its number, its client's endpoint, or the client's name or address; empty: all."""

    def of(self, recording: Recording) -> Iterator[Record]:
        """Yield what is wanted.  Missing events and the end are told whatever is selected.

        Raises NothingSelectedError in the end if a part was wanted and nothing is in it.
        """
        header = recording.header
        followed = Followed(header, self.connection) if self.connection else None
        last, found = 0, False
        for record in recording:
            if isinstance(record, PacketRecord):
                last = record.number
            # Asked first: it has to see every record.
            concerns = followed is None or followed.concerns(record)
            if concerns and self._wants(record, header):
                found = found or not isinstance(record, DroppedRecord | EndRecord)
                yield record
            elif self._is_over(record):
                break
        if not found and self != Selection():
            raise NothingSelectedError(f"{recording.name}: {self._complaint(last)}")

    def _complaint(self, last: int) -> str:
        """Say that nothing was found.  last: the number of the last packet that was read."""
        if not last:
            return "no packet is in it"
        first, to = self.first_packet, self.last_packet
        connection = f" of connection {self.connection}" if self.connection else ""
        start = f" later than {self.start:g} s" if self.start else ""
        if first is None:
            return f"no packet{connection}{start}"
        numbers = f"{first}" if first == to else f"{first}-{to or ''}"
        beyond = f"; the last is {last}" if last < first else ""
        return f"no packet {numbers}{connection}{start}{beyond}"

    def _is_over(self, record: Record) -> bool:
        """Whether nothing that is wanted can follow: no need to read on."""
        last = self.last_packet
        return last is not None and isinstance(record, PacketRecord) and record.number > last

    def _wants(self, record: Record, header: Header) -> bool:
        if isinstance(record, DroppedRecord | EndRecord):
            return True
        if record.time - header.time < self.start:
            return False
        if self.first_packet is not None:
            if not isinstance(record, PacketRecord) or record.number < self.first_packet:
                return False
            if self.last_packet is not None and record.number > self.last_packet:
                return False
        return True


class Followed:
    """The connections that are wanted, from their first packet to their end.

    What happens to their real server while they live concerns them as well, and so does the packet
    that met their end: an entry that was removed because of it is no longer its connection.
    """

    def __init__(self, header: Header, which: str) -> None:
        self._header = header
        self._which = which
        self._endings = Endings(header)
        self._alive: dict[int, tuple[str | None, str]] = {}

    def concerns(self, record: Record) -> bool:
        """Whether a record is about them.  To be asked of every record, in order."""
        self._endings.learn(record)
        if isinstance(record, DroppedRecord | EndRecord):
            return True
        if isinstance(record, ServerRecord):
            return (record.virtual_server, record.real_server.address) in self._alive.values()
        if isinstance(record, ConnectionRecord | SentRecord):
            connection: ConnectionEntry | None = record.connection
        elif isinstance(record, PacketRecord):
            connection = record.connection
            if connection is None:
                summary = summarise(record.bytes_before, record.length)
                connection = self._endings.connection_of(record, summary)
        else:
            return False
        if connection is None or not self.is_meant(connection):
            return False
        if isinstance(record, ConnectionRecord) and record.stage == "closed":
            self._alive.pop(connection.number, None)
        elif record.connection is not None:
            self._alive[connection.number] = (record.virtual_server, connection.real)
        return True

    def is_meant(self, connection: ConnectionEntry) -> bool:
        """Whether a connection is one of those that are wanted."""
        address = address_of(connection.client)
        return self._which in {
            str(connection.number),
            connection.client,
            address,
            self._header.hosts.get(address, ""),
        }
