"""What a packet costs the engine, by kind, and what scapy takes to do the same to it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from lb_switch.bench import world
from lb_switch.bench.collector import as_in_the_loop
from lb_switch.bench.world import PORT, START, VIP, VIP6
from lb_switch.engine.packet import protocol
from lb_switch.engine.packet.tcp import SYN
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason

ESTABLISHED, NEW, ERRORS, FRAGMENTS, SCAPY = 40_000, 10_000, 10_000, 10_000, 200
"""Packets in one repetition."""
REPEATS = 15
SCAPYS = "scapy: parse, edit, rebuild"
_PAYLOAD = b"x" * 1000
_CLIENT, _CLIENT6 = "10.0.1.11", "2001:db8:1::11"
_CLIENT_PORT = 40000


class PacketKind(NamedTuple):
    """Packets whose cost is measured.

    packets   by the number of the repetition: a new connection is new only once
    reasons   what every one of them must be counted as
    """

    name: str
    packets: Callable[[int], Sequence[bytes]]
    reasons: tuple[Reason, ...]


class MisledError(Exception):
    """The packets did not take the road whose cost was to be measured."""


class Bench:
    """One switch with TCP and UDP over IPv4 and TCP over IPv6, and known connections."""

    def __init__(self) -> None:
        self.switch = world.new_switch(3_000_000)
        world.add_service(self.switch, "tcp", protocol.TCP)
        world.add_service(self.switch, "udp", protocol.UDP)
        world.add_service(self.switch, "tcp6", protocol.TCP, VIP6, world.REAL_SERVERS6)
        self.buffer = bytearray(START + 65536)

    def handle(self, packet: bytes) -> bytes:
        """Put one packet through; return what became of it."""
        size = len(packet)
        self.buffer[START : START + size] = packet
        self.switch.handle_packet(self.buffer, START, size, 0.0)
        return bytes(self.buffer[START : START + size])

    def establish(self, source: str, vip: str) -> bytes:
        """Open a TCP connection; return a segment with data of the real server's."""
        layer = IPv6 if ":" in vip else partial(IP, flags="DF")
        opening = {"sport": _CLIENT_PORT, "dport": PORT, "seq": 1}
        forwarded = self.handle(bytes(layer(src=source, dst=vip) / TCP(**opening, flags="S")))
        real = (IPv6 if ":" in vip else IP)(forwarded)
        answer = layer(src=real.dst, dst=source)
        ports = {"sport": real.dport, "dport": _CLIENT_PORT}
        self.handle(bytes(answer / TCP(**ports, flags="SA", seq=1, ack=2)))
        self.handle(bytes(layer(src=source, dst=vip) / TCP(**opening, flags="A", ack=2)))
        return bytes(answer / TCP(**ports, flags="PA", seq=2, ack=2) / Raw(_PAYLOAD))

    def cost(self, packets: Sequence[bytes], *reasons: Reason) -> float:
        """Seconds for one of these packets, the time to lay them into the buffer taken off."""
        before = self._counted(reasons)
        with as_in_the_loop():
            laid = _lay(self.buffer, packets)
            handled = _handle(self.switch, self.buffer, packets)
        if self._counted(reasons) - before != len(packets):
            names = " or ".join(each.value for each in reasons)
            raise MisledError(f"not all of {len(packets)} packets were {names}")
        return (handled - laid) / len(packets)

    def _counted(self, reasons: Iterable[Reason]) -> int:
        counters = self.switch.counters
        return sum(counters[each] for each in reasons)


def _handle(switch: Switch, buffer: bytearray, packets: Iterable[bytes]) -> float:
    handle, clock = switch.handle_packet, time.perf_counter
    begin = clock()
    for packet in packets:
        size = len(packet)
        buffer[START : START + size] = packet
        handle(buffer, START, size, 0.0)
    return clock() - begin


def _lay(buffer: bytearray, packets: Iterable[bytes]) -> float:
    clock = time.perf_counter
    begin = clock()
    for packet in packets:
        size = len(packet)
        buffer[START : START + size] = packet
    return clock() - begin


def _segment(ip: Any) -> bytes:
    """A client's segment with data, in this IP header."""
    header = TCP(sport=_CLIENT_PORT, dport=PORT, flags="PA", seq=1, ack=2)
    return bytes(ip / header / Raw(_PAYLOAD))


def _error() -> bytes:
    """A router's "fragmentation needed" about a packet from the VIP to the client."""
    quoted = bytes(IP(src=VIP, dst=_CLIENT, flags="DF") / TCP(sport=PORT, dport=_CLIENT_PORT))[:28]
    error = ICMP(type=3, code=4, nexthopmtu=1400)
    return bytes(IP(src="10.0.1.1", dst=VIP, flags="DF") / error / Raw(quoted))


def _fragments(count: int) -> list[bytes]:
    """Datagrams in two fragments each, every one with an identification of its own."""
    whole = bytes(UDP(sport=_CLIENT_PORT, dport=PORT, chksum=1) / Raw(b"x" * 600))
    packets = []
    for number in range(count // 2):
        header = {"src": _CLIENT, "dst": VIP, "id": number & 0xFFFF, "proto": protocol.UDP}
        packets.append(bytes(IP(**header, flags="MF") / Raw(whole[:304])))
        packets.append(bytes(IP(**header, frag=38) / Raw(whole[304:])))
    return packets


def _scapy(packet: bytes, count: int) -> float:
    """Seconds for one packet: parse it, change destination and port, build it anew."""
    begin = time.perf_counter()
    for _ in range(count):
        dissected = IP(packet)
        dissected.dst = "10.0.2.11"
        dissected[TCP].dport = world.REAL_PORT
        del dissected.chksum
        del dissected[TCP].chksum
        bytes(dissected)
    return (time.perf_counter() - begin) / count


def _kinds(bench: Bench, share: int) -> list[PacketKind]:
    """Every kind, with a `share`-th of the packets."""

    def established(name: str, packet: bytes) -> PacketKind:
        packets = [packet] * (ESTABLISHED // share)
        return PacketKind(f"established, {name}", lambda _: packets, (Reason.KNOWN_CONNECTION,))

    def new(repetition: int) -> list[bytes]:
        count = NEW // share
        first = repetition * count
        return [
            world.tcp_packet(world.client_key(each), SYN) for each in range(first, first + count)
        ]

    from_server = bench.establish(_CLIENT, VIP)
    from_server6 = bench.establish(_CLIENT6, VIP6)
    datagram = bytes(
        IP(src=_CLIENT, dst=VIP, flags="DF") / UDP(sport=_CLIENT_PORT, dport=PORT) / _PAYLOAD
    )
    bench.handle(datagram)
    errors, fragments = [_error()] * (ERRORS // share), _fragments(FRAGMENTS // share)
    return [
        established("TCP over IPv4, to server", _segment(IP(src=_CLIENT, dst=VIP, flags="DF"))),
        established("TCP over IPv4, to client", from_server),
        established("TCP over IPv6, to server", _segment(IPv6(src=_CLIENT6, dst=VIP6))),
        established("TCP over IPv6, to client", from_server6),
        established("UDP over IPv4, to server", datagram),
        PacketKind("new connection, TCP over IPv4", new, (Reason.NEW_CONNECTION,)),
        PacketKind("ICMP error", lambda _: errors, (Reason.ICMP_ERROR,)),
        PacketKind(
            "fragment, UDP over IPv4",
            lambda _: fragments,
            (Reason.KNOWN_CONNECTION, Reason.FRAGMENT),
        ),
    ]


def run(quick: bool) -> dict[str, Any]:
    """Microseconds per packet by kind; packets per second; ratios to an established packet.

    All kinds are measured in turn, again and again: a machine that is slow for a while is so for
    all of them.  Medians, and beside them the least: what it costs when nobody disturbs.
    """
    share = 10 if quick else 1
    bench = Bench()
    kinds = _kinds(bench, share)
    scapys_packet = _segment(IP(src=_CLIENT, dst=VIP, flags="DF"))
    times: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    times[SCAPYS] = []
    for number in range(REPEATS):
        for kind in kinds:
            times[kind.name].append(bench.cost(kind.packets(number), *kind.reasons))
        times[SCAPYS].append(_scapy(scapys_packet, SCAPY // share))
    seconds = {name: statistics.median(each) for name, each in times.items()}
    base = seconds[kinds[0].name]
    return {
        name: {
            "us": round(each * 1e6, 3),
            "least_us": round(min(times[name]) * 1e6, 3),
            "packets_per_second": round(1 / each),
            "ratio": round(each / base, 2),
        }
        for name, each in seconds.items()
    }
