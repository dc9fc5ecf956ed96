"""Floods of every kind, alone and mixed: who is there already stays, and who comes is served.

Packets are made by hand: a flood of 2,000,000 is LB_SWITCH_FLOOD_PACKETS=2000000 with
LB_SWITCH_FLOOD_TABLE=100000, and takes some minutes for each case.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from lb_switch.bench.collector import as_in_the_loop
from lb_switch.daemon.loop import sweep_if_due
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import endpoint
from tests.support.wire import ip_header, tcp_segment, udp_datagram

PACKETS = int(os.environ.get("LB_SWITCH_FLOOD_PACKETS", "6000"))
TABLE = int(os.environ.get("LB_SWITCH_FLOOD_TABLE", "2000"))
RATE = 12_000
"""Packets a (virtual) second."""
ESTABLISHED = max(20, TABLE // 100)
EVERY = 60
"""One honest newcomer to so many packets of the flood, and a packet of an established one."""
ROUND_TRIP = 0.01
LONGEST_SECONDS = 0.01
FIN, SYN, RST, ACK = 1, 2, 4, 16


class Host:
    """The switch, its buffer, its clock; packets go in as bytes, and what leaves is read again."""

    def __init__(self, six: bool, forward: str) -> None:
        net = "2001:db8:{}::" if six else "10.{}.0."
        self.vips = {TCP: pack((net.format(1) + "100", 80)), UDP: pack((net.format(1) + "100", 53))}
        self.six = six
        self.now = 1000.0
        self.longest = 0.0
        self.buffer = bytearray(2048)
        self.switch = Switch(
            Settings(
                max_connections=TABLE,
                unknown_tcp="schedule",
                port_secret=b"flood",
                snat_ports=(1024, 1024 + min(64511, 3 * TABLE // 4)),
            )
        )
        for protocol, port in ((TCP, 80), (UDP, 53)):
            self.switch.add_virtual_server(
                VirtualServer(
                    f"service-{protocol}",
                    endpoint((net.format(1) + "100", port)),
                    protocol,
                    make("rr"),
                    [RealServer(endpoint((net.format(2) + str(n), 8000))) for n in (11, 12)],
                    forward="full_nat" if forward == "full_nat" else "nat",
                    persistence=Persistence(300.0),
                )
            )
        self.strangers = itertools.count(1)

    def stranger(self) -> bytes:
        """Return an address and a port that nobody had before."""
        number = next(self.strangers)
        prefix = bytes.fromhex("20010db8000900000000") + bytes(2) if self.six else b""
        address = 0x0B000000 + (number & 0xFFFFFF)
        return prefix + address.to_bytes(4, "big") + struct.pack("!H", 1024 + (number >> 24))

    def send(
        self,
        protocol: int,
        source: bytes,
        destination: bytes,
        flags: int = 0,
        sequence: int = 1,
        acked: int = 0,
    ) -> bytes | None:
        """Return the ends of the packet that leaves: source, destination; None if none does."""
        ports = source[-2:] + destination[-2:]
        payload = b"some payload of a packet, as long as a question" if not flags & SYN else b""
        if protocol == TCP:
            l4 = tcp_segment(ports, flags, sequence, acked, payload)
        else:
            l4 = udp_datagram(ports, payload)
            l4 = l4[:6] + b"\0\1" + l4[8:]  # zero would be none, which IPv6 forbids
        packet = ip_header(source[:-2], destination[:-2], protocol, len(l4)) + l4
        size = len(packet)
        self.buffer[:size] = packet
        begin = time.thread_time()
        verdict = self.switch.handle_packet(self.buffer, 0, size, self.now)
        self.longest = max(self.longest, time.thread_time() - begin)
        self.reason = verdict.reason
        if verdict.action is not Action.FORWARD:
            return None
        at, length, l4_at = (8, 16, 40) if self.six else (12, 4, 20)
        addresses = bytes(self.buffer[at : at + 2 * length])
        ports = bytes(self.buffer[l4_at : l4_at + 4])
        return addresses[:length] + ports[:2] + addresses[length:] + ports[2:]

    def pass_time(self) -> None:
        due = self.switch.next_deadline()
        if due is not None and due <= self.now:
            self.switch.handle_timers(self.now)
        sweep_if_due()


def pack(place: tuple[str, int]) -> bytes:
    return ipaddress.ip_address(place[0]).packed + place[1].to_bytes(2, "big")


class Talk:
    """A client that is there."""

    def __init__(self, host: Host, protocol: int) -> None:
        self.host = host
        self.protocol = protocol
        self.place = host.stranger()
        self.near = self.server = b""

    def ask(self, flags: int = 0, *numbers: int) -> bool:
        """Send a packet; return whether a real server got it."""
        vip = self.host.vips[self.protocol]
        ends = self.host.send(self.protocol, self.place, vip, flags, *numbers)
        if ends is not None:
            half = len(ends) // 2
            self.near, self.server = ends[:half], ends[half:]
        return ends is not None

    def answer(self, flags: int = 0, *numbers: int) -> bool:
        """Let the real server answer; return whether the client got it, from the VIP."""
        ends = self.host.send(self.protocol, self.server, self.near, flags, *numbers)
        return ends == self.host.vips[self.protocol] + self.place

    def go_through(self) -> Iterator[bool]:
        """Do one step after the other, a round trip apart: an honest newcomer's life."""
        if self.protocol == TCP:
            yield self.ask(SYN, 1, 0)
            yield self.answer(SYN | ACK, 5000, 2)
            yield self.ask(ACK, 2, 5001) and self.host.reason is Reason.KNOWN_CONNECTION
            yield self.answer(ACK, 5001, 2)
            yield self.ask(RST | ACK, 2, 5001)
        else:
            for _ in range(2):
                yield self.ask()
                yield self.answer()


def syn(host: Host) -> None:
    assert host.send(TCP, host.stranger(), host.vips[TCP], SYN) is not None


def syn_and_ack(host: Host) -> None:
    """The server's SYN/ACK, and an ACK that guesses."""
    forged = Talk(host, TCP)
    forged.ask(SYN, 1, 0)
    forged.answer(SYN | ACK, 1 << 30, 2)
    forged.ask(ACK, 2, 77)


def lone_ack(host: Host) -> None:
    Talk(host, TCP).ask(ACK, 1, 1)


def syn_and_rst(host: Host) -> None:
    forged = Talk(host, TCP)
    forged.ask(SYN, 1, 0)
    forged.ask(RST, 2, 0)


def question(host: Host) -> None:
    Talk(host, UDP).ask()


def answered(host: Host) -> None:
    forged = Talk(host, UDP)
    forged.ask()
    forged.answer()


def conversation(host: Host) -> None:
    forged = Talk(host, UDP)
    for _ in range(2):
        forged.ask()
        forged.answer()


FLOODS: dict[str, tuple[Callable[[Host], None], ...]] = {
    each.__name__: (each,)
    for each in (syn, syn_and_ack, lone_ack, syn_and_rst, question, answered, conversation)
}
FLOODS["mixed"] = tuple(kind for kinds in FLOODS.values() for kind in kinds)


@pytest.mark.timeout(max(120, PACKETS // 2000))
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("forward", ["nat", "full_nat"])
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood(name: str, forward: str, six: bool) -> None:
    with as_in_the_loop():
        flood(name, forward, six)


def flood(name: str, forward: str, six: bool) -> None:
    host = Host(six, forward)
    established = [Talk(host, TCP) for _ in range(ESTABLISHED)]
    for talk in established:
        assert all(itertools.islice(talk.go_through(), 4))
    conversing = [Talk(host, UDP) for _ in range(ESTABLISHED)]
    for talk in conversing:
        for _ in range(8):
            assert talk.ask()
            assert talk.answer()
    homes = [talk.server for talk in (*established, *conversing)]
    waiting: list[tuple[float, Talk, Iterator[bool]]] = []
    served = {TCP: [0, 0], UDP: [0, 0]}
    kinds = FLOODS[name]
    at_home = [0, 0]
    for number in range(PACKETS):
        host.now += 1 / RATE
        kinds[number % len(kinds)](host)
        if number % EVERY == 0:
            host.pass_time()
            turn = number // EVERY
            talk = established[turn % ESTABLISHED]
            assert talk.ask(ACK, 2, 5001), "an established transfer is cut"
            assert talk.answer(ACK, 5001, 2)
            talk = conversing[turn % ESTABLISHED]
            before, talk.server = talk.server, b""
            at_home[talk.ask() and talk.server == before and talk.answer()] += 1
            talk.server = before
            newcomer = Talk(host, (TCP, UDP)[turn % 2])
            waiting.append((host.now, newcomer, newcomer.go_through()))
        while waiting and waiting[0][0] <= host.now:
            _, newcomer, steps = waiting.pop(0)
            step = next(steps, None)
            if step:
                waiting.append((host.now + ROUND_TRIP, newcomer, steps))
            else:
                served[newcomer.protocol][step is None] += 1
    check_invariants(host.switch)
    assert len(host.switch.connections) <= TABLE
    for talk, home in zip((*established, *conversing), homes, strict=True):
        if talk.protocol == TCP:
            assert talk.ask(ACK, 2, 5001)
            assert talk.server == home
    for protocol, (failed, done) in served.items():
        assert done >= 0.95 * (failed + done), (protocol, failed, done)
        assert done > 10
    assert at_home[True] >= 0.95 * sum(at_home), at_home
    print(f"{name} {forward}: longest {host.longest * 1e3:.2f} ms, served {served}, {at_home}")
    if PACKETS >= 1_000_000:
        assert host.longest < LONGEST_SECONDS
