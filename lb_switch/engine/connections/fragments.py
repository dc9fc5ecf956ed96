"""Fragments: the first one, which has the ports, decides; the others follow it.

The switch does not put datagrams together again.  It remembers, by source, destination,
identification and protocol (RFC 791, section 3.2; RFC 8200, section 4.5), what became of the first
fragment, and does the same with the others.  A fragment that comes before the first is held until
that one arrives or time is up.

What is refused: a byte of a datagram that comes twice (RFC 5722; so also a second first fragment,
with which an attacker could have the ports rewritten after the decision), a later fragment inside
the TCP header (RFC 3128), and an end beyond 65,535 bytes.  Everything is bounded: datagrams
remembered, bytes held, time.

At a few thousand datagrams a second a sender uses all of IPv4's identifications before `TIMEOUT`
(RFC 4963): what is left of a datagram of which a part was lost would be joined with the next one of
that identification, and poison it.  So a datagram is also over when `MAX_DISTANCE` others of its
sender have begun since its last fragment (Linux's ipfrag_max_dist).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import Direction
from lb_switch.engine.packet import tcp
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.verdict import Action

TIMEOUT = 30.0
"""Seconds from the first one seen of a datagram (Linux's ipfrag_time)."""
MAX_DISTANCE = 64
"""Datagrams that may begin between two fragments of one, to the same destination."""
MAX_DATAGRAMS = 4096
MAX_HELD_BYTES = 4 << 20
MAX_HELD_OF_ONE = 256
"""Fragments of one datagram that wait for the first: a largest datagram in parts of an IPv4
minimum MTU.  They are released in one go, which takes a millisecond or two."""
_MAX_DATAGRAM = 65535
_UNIT = 8

DatagramKey = tuple[bytes, bytes, int, int]


class Fate(NamedTuple):
    """What became of the first fragment.

    FORWARD comes with connection, direction and the identification with which it left; PASS and
    DROP without.
    """

    action: Action
    connection: Connection | None = None
    direction: Direction | None = None
    identification: int = 0


class RefusedError(Exception):
    """The fragment must not go on."""


class HeldTooMuchError(Exception):
    """There is no room to hold this fragment."""


class _Pair:
    """A source and a destination (and IPv4's protocol) with datagrams under way."""

    __slots__ = ("begun", "under_way")

    def __init__(self) -> None:
        self.begun = self.under_way = 0


class Datagram:
    """One datagram under way: which parts came, what is held, and its fate once decided."""

    __slots__ = ("_end", "_units", "deadline", "fate", "held", "held_bytes", "key", "number")

    def __init__(self, key: DatagramKey, deadline: float) -> None:
        self.key = key
        self.number = 0
        """How many of its pair had begun when its last fragment came."""
        self.deadline = deadline
        self.fate: Fate | None = None
        self.held: list[bytes] = []
        self.held_bytes = 0
        self._units = 0
        self._end: int | None = None

    def note(self, offset: int, length: int, last: bool) -> None:
        """Note the arrival of `length` bytes at `offset`.  Raises RefusedError."""
        end = offset + length
        if end > _MAX_DATAGRAM or length == 0 or (not last and length % _UNIT):
            raise RefusedError
        units = ((1 << -(-length // _UNIT)) - 1) << (offset // _UNIT)
        beyond = self._end is not None and (last or end > self._end)
        if self._units & units or beyond or (last and self._units >> -(-end // _UNIT)):
            raise RefusedError
        self._units |= units
        if last:
            self._end = end

    @property
    def complete(self) -> bool:
        """Whether every part has come."""
        return self._end is not None and self._units == (1 << -(-self._end // _UNIT)) - 1


class FragmentTracker:
    """The datagrams that are under way in fragments."""

    def __init__(
        self, max_datagrams: int = MAX_DATAGRAMS, max_held_bytes: int = MAX_HELD_BYTES
    ) -> None:
        self._datagrams: OrderedDict[DatagramKey, Datagram] = OrderedDict()
        self._pairs: dict[tuple[bytes, bytes, int], _Pair] = {}
        self._max_datagrams = max_datagrams
        self._max_held_bytes = max_held_bytes
        self.held_bytes = 0
        self.expired = 0
        """Held fragments whose first never came, came too late, or that had to make room."""

    def __len__(self) -> int:
        return len(self._datagrams)

    @property
    def held(self) -> int:
        """How many fragments wait for their first."""
        return sum(len(datagram.held) for datagram in self._datagrams.values())

    def find(self, packet: Packet) -> Datagram | None:
        """Return the datagram this fragment belongs to, if a part of it came before."""
        key = _key(packet)
        datagram = self._datagrams.get(key)
        if datagram is not None and self._is_too_far(datagram):
            self._drop(key)
            return None
        return datagram

    def _is_too_far(self, datagram: Datagram) -> bool:
        return self._pairs[_pair(datagram.key)].begun - datagram.number > MAX_DISTANCE

    def note(self, packet: Packet, now: float) -> Datagram:
        """Note the arrival of a fragment.  Raises RefusedError, after which it must not go on."""
        fragment = packet.fragment
        assert fragment is not None
        if 0 < fragment.offset < tcp.MIN_LENGTH and packet.protocol == TCP:
            raise RefusedError
        datagram = self.find(packet)
        if datagram is None:
            if len(self._datagrams) >= self._max_datagrams:
                self._drop(next(iter(self._datagrams)))
            datagram = self._begin(_key(packet), now + TIMEOUT)
        datagram.number = self._pairs[_pair(datagram.key)].begun
        datagram.note(fragment.offset, packet.end - fragment.start, not fragment.more)
        return datagram

    def _begin(self, key: DatagramKey, deadline: float) -> Datagram:
        datagram = self._datagrams[key] = Datagram(key, deadline)
        pair = self._pairs.setdefault(_pair(key), _Pair())
        pair.begun += 1
        pair.under_way += 1
        return datagram

    def _finish(self, key: DatagramKey) -> Datagram:
        pair = self._pairs[_pair(key)]
        pair.under_way -= 1
        if not pair.under_way:
            del self._pairs[_pair(key)]
        return self._datagrams.pop(key)

    def hold(self, packet: Packet, datagram: Datagram) -> None:
        """Keep a copy until the first fragment comes.  Raises HeldTooMuchError."""
        length = packet.end - packet.start
        if len(datagram.held) >= MAX_HELD_OF_ONE or self.held_bytes + length > self._max_held_bytes:
            raise HeldTooMuchError
        datagram.held.append(bytes(packet.buffer[packet.start : packet.end]))
        datagram.held_bytes += length
        self.held_bytes += length

    def decide(self, datagram: Datagram, fate: Fate) -> list[bytes]:
        """Give the datagram its fate; return what was held, in order of arrival."""
        datagram.fate = fate
        held, datagram.held = datagram.held, []
        self.held_bytes -= datagram.held_bytes
        datagram.held_bytes = 0
        return held

    def forget_if_complete(self, datagram: Datagram) -> None:
        """Make the identification free again as soon as every part has come."""
        if datagram.complete and datagram.fate is not None:
            self._finish(datagram.key)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        for datagram in self._datagrams.values():
            return datagram.deadline
        return None

    def expire(self, now: float) -> None:
        """Forget the datagrams whose time is up."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            self._drop(next(iter(self._datagrams)))

    def _drop(self, key: DatagramKey) -> None:
        datagram = self._finish(key)
        self.expired += len(datagram.held)
        self.held_bytes -= datagram.held_bytes


def _key(packet: Packet) -> DatagramKey:
    assert packet.fragment is not None
    # The protocol tells IPv4's 16-bit identifications apart; RFC 8200 needs none.
    protocol = packet.protocol if packet.version == 4 else 0
    return packet.source, packet.destination, packet.fragment.identification, protocol


def _pair(key: DatagramKey) -> tuple[bytes, bytes, int]:
    source, destination, _, protocol = key
    return source, destination, protocol
