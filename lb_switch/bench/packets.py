"""What a packet costs the engine, by kind, and what scapy takes to do the same to it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from lb_switch.bench import world
from lb_switch.bench.collector import as_in_the_loop
from lb_switch.bench.world import PORT, START, VIP, VIP6
from lb_switch.packet import protocol
from lb_switch.packet.tcp import SYN
from lb_switch.switch import Switch
from lb_switch.verdict import Reason

ESTABLISHED, NEW, ERRORS, FRAGMENTS, SCAPY = 100_000, 20_000, 20_000, 20_000, 500
"""Packets in one repetition."""
REPEATS = 7
_PAYLOAD = b"x" * 1000
_CLIENT, _CLIENT6 = "10.0.1.11", "2001:db8:1::11"
_CLIENT_PORT = 40000


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
        layer = IPv6 if ":" in vip else IP
        opening = {"sport": _CLIENT_PORT, "dport": PORT, "seq": 1}
        forwarded = self.handle(bytes(layer(src=source, dst=vip) / TCP(**opening, flags="S")))
        real = layer(forwarded)
        answer = layer(src=real.dst, dst=source)
        ports = {"sport": real.dport, "dport": _CLIENT_PORT}
        self.handle(bytes(answer / TCP(**ports, flags="SA", seq=1, ack=2)))
        self.handle(bytes(layer(src=source, dst=vip) / TCP(**opening, flags="A", ack=2)))
        return bytes(answer / TCP(**ports, flags="PA", seq=2, ack=2) / Raw(_PAYLOAD))

    def cost(self, packets: Sequence[bytes], repeats: int, *reasons: Reason) -> float:
        """Seconds for one packet: the median over the repetitions, the laying-in taken off."""
        return self.cost_of(lambda _: packets, repeats, *reasons)

    def cost_of(
        self, packets_of: Callable[[int], Sequence[bytes]], repeats: int, *reasons: Reason
    ) -> float:
        """The same, with other packets in each repetition (for those that are new only once)."""
        times = []
        buffer = self.buffer
        for number in range(repeats):
            packets = packets_of(number)
            before = self._counted(reasons)
            with as_in_the_loop():
                laid = _lay(buffer, packets)
                handled = _handle(self.switch, buffer, packets)
            if self._counted(reasons) - before != len(packets):
                names = " or ".join(each.value for each in reasons)
                raise MisledError(f"not all of {len(packets)} packets were {names}")
            times.append((handled - laid) / len(packets))
        return statistics.median(times)

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


def _client(payload: bytes = _PAYLOAD, number: int = 0) -> bytes:
    header = TCP(sport=_CLIENT_PORT, dport=PORT, flags="PA", seq=1 + number, ack=2)
    return bytes(IP(src=_CLIENT, dst=VIP) / header / Raw(payload))


def _error() -> bytes:
    """A router's "fragmentation needed" about a packet from the VIP to the client."""
    quoted = bytes(IP(src=VIP, dst=_CLIENT) / TCP(sport=PORT, dport=_CLIENT_PORT))[:28]
    error = ICMP(type=3, code=4, nexthopmtu=1400)
    return bytes(IP(src="10.0.1.1", dst=VIP) / error / Raw(quoted))


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


def run(quick: bool) -> dict[str, Any]:
    """Microseconds per packet by kind; packets per second; ratios to an established packet."""
    share = 10 if quick else 1
    repeats = 3 if quick else REPEATS
    bench = Bench()
    from_server = bench.establish(_CLIENT, VIP)
    from_server6 = bench.establish(_CLIENT6, VIP6)
    datagram = bytes(IP(src=_CLIENT, dst=VIP) / UDP(sport=_CLIENT_PORT, dport=PORT) / _PAYLOAD)
    bench.handle(datagram)
    segment = _client()
    segment6 = bytes(
        IPv6(src=_CLIENT6, dst=VIP6)
        / TCP(sport=_CLIENT_PORT, dport=PORT, flags="PA", seq=1, ack=2)
        / Raw(_PAYLOAD)
    )
    known = Reason.KNOWN_CONNECTION
    short = {
        "established, TCP over IPv4, to server": segment,
        "established, TCP over IPv4, to client": from_server,
        "established, TCP over IPv6, to server": segment6,
        "established, TCP over IPv6, to client": from_server6,
        "established, UDP over IPv4, to server": datagram,
    }
    seconds = {
        kind: bench.cost([packet] * (ESTABLISHED // share), repeats, known)
        for kind, packet in short.items()
    }
    count = NEW // share
    seconds["new connection, TCP over IPv4"] = bench.cost_of(
        lambda number: [
            world.tcp_packet(world.client_key(number * count + each), SYN) for each in range(count)
        ],
        repeats,
        Reason.NEW_CONNECTION,
    )
    seconds["ICMP error"] = bench.cost([_error()] * (ERRORS // share), repeats, Reason.ICMP_ERROR)
    seconds["fragment, UDP over IPv4"] = bench.cost(
        _fragments(FRAGMENTS // share), repeats, known, Reason.FRAGMENT
    )
    seconds["scapy: parse, edit, rebuild"] = statistics.median(
        _scapy(segment, SCAPY // share) for _ in range(repeats)
    )
    base = seconds["established, TCP over IPv4, to server"]
    return {
        kind: {
            "us": round(each * 1e6, 3),
            "packets_per_second": round(1 / each),
            "ratio": round(each / base, 2),
        }
        for kind, each in seconds.items()
    }
