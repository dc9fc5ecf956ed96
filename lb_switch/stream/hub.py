"""One stream of one switch, and everybody who reads it.

An event is made a line once, whoever reads: so two readers agree on every number.  What nobody
wants is not told by the engine at all (`engine.listeners`): so a reader that has had its share of
packets for a while costs nothing until `refill`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.events import (
    ConnectionEvent,
    Event,
    PacketEvent,
    ProbeEvent,
    SentEvent,
    ServerEvent,
    SettingsEvent,
    VirtualServerEvent,
)
from lb_switch.engine.listeners import Interest
from lb_switch.engine.switch import Switch
from lb_switch.stream.encode import Encoder
from lb_switch.stream.wires import Routed

_log = logging.getLogger(__name__)

SHARES = 10
"""Into how many parts of a second a reader's packets are divided."""


class Reader(Protocol):
    """Takes lines.  No method may block or raise."""

    def put(self, line: bytes) -> None:
        """Take a line, or count it as lost."""

    def drop(self) -> None:
        """Count a line that could not be made."""

    def flush(self) -> object:
        """Pass on what waits, now that some time has gone by."""


class Hub:
    """Listens to a switch for all readers of its stream.

    `hosts` gives the machines' names by address; `routed` says of the packet at hand whether it
    was captured behind the host's forwarding.
    """

    def __init__(
        self,
        switch: Switch,
        hosts: Callable[[], Mapping[str, str]] = dict,
        routed: Routed | None = None,
    ) -> None:
        self.switch = switch
        self._hosts = hosts
        self._routed = routed
        self._readers: list[tuple[Reader, Interest]] = []
        self._wanting: dict[type[Event], list[tuple[Reader, Interest]]] = {}
        self._encoders: dict[int, Encoder] = {}
        """By how many bytes of a packet they keep."""
        self._shares: dict[Reader, int] = {}
        """How many packets a reader with a bound gets in each part of a second."""
        self._left: dict[Reader, int] = {}
        """How many of them it still gets in this one."""

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: Reader, interest: Interest, most: int = 0) -> None:
        """Let a reader have every line that it wants from now on.

        `most`: so many packets a second at the most; 0: all.
        """
        self._readers = [each for each in self._readers if each[0] is not reader]
        self._readers.append((reader, interest))
        if most:
            self._shares[reader] = self._left[reader] = -(-most // SHARES)
        self._listen()

    def remove(self, reader: Reader) -> None:
        """Let it have nothing any more.  May be called twice."""
        left = [each for each in self._readers if each[0] is not reader]
        if len(left) < len(self._readers):
            self._readers = left
            self._shares.pop(reader, None)
            self._left.pop(reader, None)
            self._listen()

    def refill(self) -> bool:
        """Begin another part of a second: every reader may have its share of packets again.

        Return whether anybody has a bound, so that this is to be called in the next part too.
        """
        had_none = not all(self._left.values())
        self._left.update(self._shares)
        if had_none:
            self._listen()
        return bool(self._shares)

    def header(self, keep: int, now: float) -> bytes:
        """Return the first line of a stream that keeps so many bytes of a packet."""
        return self._encoder(keep).header(self.switch, self._hosts(), now)

    def tell(self, line: bytes) -> None:
        """Let everybody who wants to hear of servers have a line that is no event of the engine."""
        for reader, interest in self._readers:
            if interest.servers:
                reader.put(line)

    def flush(self) -> None:
        """Let every reader pass on what waits, where no event comes to push it."""
        for reader, _ in tuple(self._readers):
            reader.flush()

    def present(self, connection: Connection, now: float) -> bytes:
        """Return the line of a connection that is in the table."""
        return self._encoder(0).present(connection, now)

    def _listen(self) -> None:
        readers = [
            (reader, interest._replace(packets=interest.packets and self._left.get(reader) != 0))
            for reader, interest in self._readers
        ]
        wants = [interest for _, interest in readers]
        self._wanting = {
            kind: [each for each in readers if wanted(each[1])] for kind, wanted in _KINDS.items()
        }
        if not wants:
            self.switch.stop_listening(self._take)
            return
        self.switch.listen(
            self._take,
            Interest(
                any(each.connections for each in wants),
                any(each.servers for each in wants),
                any(each.probes for each in wants),
                any(each.packets for each in wants),
                max((each.keep for each in wants if each.packets), default=0),
            ),
        )

    def _encoder(self, keep: int) -> Encoder:
        encoder = self._encoders.get(keep)
        if encoder is None:
            numbers = self.switch.listeners.number_of
            encoder = self._encoders[keep] = Encoder(numbers, self._routed, keep)
        return encoder

    def _take(self, event: Event) -> None:
        """Make an event a line.  Whatever goes wrong here costs the event, never the packet."""
        lines: dict[int, bytes | None] = {}
        for reader, interest in self._wanting[type(event)]:
            if (
                interest.only is not None
                and isinstance(event, _OF_PACKETS)
                and not interest.only(event)
            ):
                continue
            keep = interest.keep
            if keep not in lines:
                lines[keep] = self._line(event, keep)
            line = lines[keep]
            if line is None:
                reader.drop()
            else:
                reader.put(line)
            left = self._left.get(reader, 0)
            if left and isinstance(event, PacketEvent):
                self._left[reader] = left - 1
                if left == 1:
                    self._listen()

    def _line(self, event: Event, keep: int) -> bytes | None:
        try:
            return self._encoder(keep).encode(event)
        except Exception:
            _log.exception("an event could not be told")
            return None


_OF_PACKETS = (PacketEvent, SentEvent)
_KINDS: dict[type[Event], Callable[[Interest], bool]] = {
    PacketEvent: lambda interest: interest.packets,
    SentEvent: lambda interest: interest.packets,
    ConnectionEvent: lambda interest: interest.connections,
    ProbeEvent: lambda interest: interest.probes,
    ServerEvent: lambda interest: interest.servers,
    VirtualServerEvent: lambda interest: interest.servers,
    SettingsEvent: lambda interest: interest.servers,
}
"""Whether an interest wants an event of this kind."""
