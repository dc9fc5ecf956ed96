"""A load: which client opens a connection when, and for how long.  Made up, or recorded.

It says nothing about real servers, so that the same load can meet every scheduler.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import NamedTuple

from lb_switch.engine.packet import tcp
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.flow_key import pack_endpoint, reverse, source_endpoint
from lb_switch.engine.packet.parse import Packet, ParseError, parse
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.servers import AdminState
from lb_switch.files.link import LINK_TYPES
from lb_switch.files.record import CapturedPacket

SPAN = 60.0
"""Seconds in which the connections of a synthetic load arrive."""

SHORTEST, LONGEST, TAIL = 0.5, 60.0, 1.2
"""Durations of a synthetic load: a Pareto distribution with exponent TAIL, in seconds, bounded.
Most connections are short and a few very long, as measured in real networks (Crovella and
Bestavros, "Self-Similarity in World Wide Web Traffic", 1997: exponents of 1.0 to 1.5)."""

_CLIENTS = {4: int(ipaddress.ip_address("198.18.0.1")), 6: int(ipaddress.ip_address("2001:2::1"))}
"""The first client's address, from the ranges for benchmarks (RFC 2544, RFC 5180)."""
_FIRST_PORT, _PORTS = 1024, 64_512


class Arrival(NamedTuple):
    """One connection: seconds from the load's beginning, and who opens it."""

    start: float
    duration: float
    client: Endpoint


class ServerChange(NamedTuple):
    """How a real server (its index in the group) is from that time on, in seconds."""

    time: float
    server: int
    healthy: bool
    state: AdminState
    weight: int


@dataclass(frozen=True)
class Load:
    """Connections in the order in which they arrive.

    `about` says in a few words where they come from.  `span` is how long the load lasts, in
    seconds: until the last arrival, or until the recording ends.  `changes`, in order, are what
    happens to the real servers meanwhile; without any all of them are healthy.
    """

    arrivals: tuple[Arrival, ...]
    span: float
    about: str
    changes: tuple[ServerChange, ...] = ()

    @property
    def clients(self) -> int:
        """How many addresses open connections."""
        return len({arrival.client.ip for arrival in self.arrivals})

    @property
    def busiest(self) -> float:
        """The share of the connections that the busiest client opens, from 0 to 1."""
        counts = Counter(arrival.client.ip for arrival in self.arrivals)
        return max(counts.values()) / len(self.arrivals)


def synthetic(clients: int, connections: int, seed: int, version: int = 4) -> Load:
    """Make up a load; the same arguments give the same one everywhere.

    Arrivals are a Poisson process over SPAN; the k-th client opens a share of 1/k (Zipf's law: a
    few clients open most of the connections); durations are heavy-tailed.
    """
    random = Random(seed)  # noqa: S311 - it is to be predictable
    times = [0.0]
    for _ in range(connections):
        times.append(times[-1] + random.expovariate(1.0))
    scale = SPAN / times[-2] if connections > 1 else 0.0
    popularity = list(accumulate(1.0 / rank for rank in range(1, clients + 1)))
    ports: dict[int, int] = {}
    arrivals = []
    for time in times[:connections]:
        number = bisect_left(popularity, random.random() * popularity[-1])
        port = ports[number] = ports.get(number, -1) + 1
        ip = ipaddress.ip_address(_CLIENTS[version] + number)
        endpoint = Endpoint(ip, _FIRST_PORT + port % _PORTS)
        arrivals.append(Arrival(time * scale, _duration(random.random()), endpoint))
    return Load(tuple(arrivals), times[connections - 1] * scale, f"synthetic, seed {seed}")


def _duration(quantile: float) -> float:
    """Return that quantile of the bounded Pareto distribution."""
    cut = 1.0 - (SHORTEST / LONGEST) ** TAIL
    return float(SHORTEST * (1.0 - quantile * cut) ** (-1.0 / TAIL))


def recorded(records: Iterable[CapturedPacket], vip: Endpoint, protocol: int, about: str) -> Load:
    """Find the connections to a virtual server in a recording.

    A TCP connection lasts from its SYN to the first FIN or RST of either side, or until the
    recording ends; one without a SYN began earlier and is left out.  A UDP conversation lasts from
    its first datagram to its last.  Raises what `records` raises.
    """
    finder = _Finder(vip, protocol)
    for record in records:
        finder.tick(record.time)
        link = LINK_TYPES.get(record.interface.link_type)
        start = link.find_ip(record.data) if link else None
        if start is None:
            continue
        try:
            packet = parse(bytearray(record.data), start, len(record.data) - start)
        except ParseError:
            continue
        finder.note(packet)
    return finder.load(about)


class _Open:
    """A connection that may still go on."""

    __slots__ = ("closed", "end", "start")

    def __init__(self, start: float) -> None:
        self.start = self.end = start
        self.closed = False


class _Finder:
    def __init__(self, vip: Endpoint, protocol: int) -> None:
        address, port = pack_endpoint(vip)
        self._vip, self._protocol = address + port, protocol
        self._now = self._begin = float("-inf")
        self._latest: dict[bytes, _Open] = {}
        self._all: list[tuple[bytes, _Open]] = []

    def tick(self, time: float) -> None:
        # A timestamp that goes back is taken for the latest so far, as in a replay.
        self._now = max(self._now, time)
        if self._begin == float("-inf"):
            self._begin = time

    def note(self, packet: Packet) -> None:
        if packet.protocol != self._protocol or not packet.key:
            return
        key, from_client = packet.key, True
        if _destination(key) != self._vip:
            key, from_client = reverse(key), False
            if _destination(key) != self._vip:
                return
        known = self._latest.get(key)
        flags = packet.buffer[packet.l4 + 13] if self._protocol == TCP else 0
        if from_client and (known is None or known.closed) and self._opens(flags):
            known = self._latest[key] = _Open(self._now)
            self._all.append((key, known))
        if known is not None and not known.closed:
            known.end = self._now
            known.closed = flags & (tcp.FIN | tcp.RST) != 0

    def _opens(self, flags: int) -> bool:
        return self._protocol != TCP or flags & (tcp.SYN | tcp.ACK | tcp.RST) == tcp.SYN

    def load(self, about: str) -> Load:
        arrivals = []
        for key, connection in self._all:
            goes_on = self._protocol == TCP and not connection.closed
            end = self._now if goes_on else connection.end
            arrivals.append(
                Arrival(
                    connection.start - self._begin, end - connection.start, source_endpoint(key)
                )
            )
        span = self._now - self._begin if arrivals else 0.0
        return Load(tuple(arrivals), span, about)


def _destination(key: bytes) -> bytes:
    """Return destination address and port of a flow key."""
    n = (len(key) - 4) // 2
    return key[n : 2 * n] + key[-2:]
