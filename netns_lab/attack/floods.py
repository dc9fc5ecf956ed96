"""Floods: endless packets of one kind, from sources that change with every packet.  Pure.

`KINDS` names them.  Each is an iterator of IP packets that knows only the target and a source of
random numbers, so that a flood can be sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from netns_lab.attack import headers
from netns_lab.attack.headers import ACK, MORE, SYN, TCP, UDP

_PAYLOAD = b"a flood of questions...."
"""24 bytes: a multiple of 8, so that fragments may end behind it."""
_UNREACHABLE, _UNREACHABLE6 = 3, 1
_PORT, _PORT6 = 3, 4
_TIME_EXCEEDED, _TIME_EXCEEDED6 = 11, 3


@dataclass(frozen=True)
class Target:
    """What an attacker knows.  Addresses are packed, all of one family.

    vip               with the ports: tcp and udp are answered, void takes datagrams in silence
    real_servers      their addresses, with the same ports
    replies_to        full NAT: the source address that real servers see; empty: plain NAT
    forged            the first bytes of the sources; the others are random
    client            an honest client's address, whose packets ICMP errors pretend to quote
    """

    vip: bytes
    tcp: int
    udp: int
    void: int
    real_servers: tuple[bytes, ...]
    replies_to: bytes
    forged: bytes
    client: bytes

    def source(self, numbers: Random) -> bytes:
        """An address that nobody has."""
        missing = len(self.vip) - len(self.forged)
        host = numbers.getrandbits(24).to_bytes(3, "big")
        return self.forged + bytes(missing - 3) + host


Flood = Iterator[bytes]


def _ports(numbers: Random, to: int) -> bytes:
    return (1024 + numbers.getrandbits(15)).to_bytes(2, "big") + to.to_bytes(2, "big")


def syn(target: Target, numbers: Random) -> Flood:
    """One SYN from each source, and never anything more."""
    while True:
        ports = _ports(numbers, target.tcp)
        source = target.source(numbers)
        yield headers.tcp(source, target.vip, ports, SYN, numbers.getrandbits(32))


def handshake(target: Target, numbers: Random) -> Flood:
    """A handshake of nobody: SYN, the SYN and ACK of whichever server, and the ACK, of one hand."""
    while True:
        source, ports = target.source(numbers), _ports(numbers, target.tcp)
        here, there = numbers.getrandbits(32), numbers.getrandbits(32)
        back = ports[2:] + (ports[:2] if not target.replies_to else _ports(numbers, 0)[:2])
        answered = here + 1 & 0xFFFFFFFF
        yield headers.tcp(source, target.vip, ports, SYN, here)
        to = target.replies_to or source
        for server in target.real_servers:
            yield headers.tcp(server, to, back, SYN | ACK, there, answered)
        yield headers.tcp(source, target.vip, ports, ACK, answered, there + 1 & 0xFFFFFFFF)


def lone_ack(target: Target, numbers: Random) -> Flood:
    """ACKs that belong to nothing."""
    while True:
        source, ports = target.source(numbers), _ports(numbers, target.tcp)
        here, there = numbers.getrandbits(32), numbers.getrandbits(32)
        yield headers.tcp(source, target.vip, ports, ACK, here, there)


def udp(target: Target, numbers: Random) -> Flood:
    """Questions that a real server answers."""
    while True:
        source, ports = target.source(numbers), _ports(numbers, target.udp)
        yield headers.udp(source, target.vip, ports, _PAYLOAD)


def udp_void(target: Target, numbers: Random) -> Flood:
    """Datagrams that nobody answers."""
    while True:
        source, ports = target.source(numbers), _ports(numbers, target.void)
        yield headers.udp(source, target.vip, ports, _PAYLOAD)


def fragments(target: Target, numbers: Random) -> Flood:
    """Datagrams in pieces: firsts without the rest, rests without a first, one whole, one torn."""
    vip = target.vip
    while True:
        source, ports = target.source(numbers), _ports(numbers, target.udp)
        number = numbers.getrandbits(32)
        whole = headers.udp_datagram(source, vip, ports, _PAYLOAD * 2)
        yield headers.fragment(source, vip, UDP, number, 0, MORE, whole[:32])
        yield headers.fragment(source, vip, UDP, number + 1 & 0xFFFFFFFF, 32, 0, whole[32:])
        yield headers.fragment(source, vip, UDP, number, 32, 0, whole[32:])
        yield headers.fragment(source, vip, UDP, number + 2 & 0xFFFFFFFF, 8, MORE, whole[:24])
        yield headers.fragment(source, vip, TCP, number + 3 & 0xFFFFFFFF, 8, MORE, whole[:8])


def icmp_quotes(target: Target, numbers: Random) -> Flood:
    """Errors about packets of the VIP: to nobody, and to the honest client at a guessed port."""
    six = len(target.vip) == 16
    gone = (_UNREACHABLE6, _PORT6) if six else (_UNREACHABLE, _PORT)
    late = (_TIME_EXCEEDED6, 0) if six else (_TIME_EXCEEDED, 0)
    while True:
        router = target.source(numbers)
        for to, (kind, code) in ((target.source(numbers), gone), (target.client, late)):
            ports = _ports(numbers, target.tcp)
            sequence = numbers.getrandbits(32)
            quoted = headers.tcp(target.vip, to, ports[2:] + ports[:2], ACK, sequence, sequence)
            yield headers.icmp_error(router, target.vip, kind, code, quoted)


def mixed(target: Target, numbers: Random) -> Flood:
    """All of them, a packet of each in turn."""
    each = [flood(target, numbers) for name, flood in KINDS.items() if name != "mixed"]
    while True:
        for flood in each:
            yield next(flood)


KINDS: Mapping[str, Callable[[Target, Random], Flood]] = MappingProxyType(
    {
        "syn": syn,
        "handshake": handshake,
        "ack": lone_ack,
        "udp": udp,
        "udp-void": udp_void,
        "fragments": fragments,
        "icmp": icmp_quotes,
        "mixed": mixed,
    }
)
"""By name, in the order in which they are shown."""
