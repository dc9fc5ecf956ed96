"""The short road's work for a packet, counted: a slow-down is seen without a timing test.

What is recorded here is what the code does now.  A count that grew is no error by itself, but
nobody shall make every packet dearer without knowing it.
"""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import NamedTuple

import pytest

from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason
from tests.bench import work
from tests.support.packets import HEADROOM, dissect, tcp, udp

CLIENT, CLIENT6 = "10.0.1.11", "2001:db8:1::11"
VIP, VIP6 = "10.0.1.100", "2001:db8:1::100"
RIP, RIP6 = "10.0.2.11", "2001:db8:2::11"
PORT, REAL_PORT, CLIENT_PORT = 80, 8080, 40000
TIMES = 1000

WHAT_TO_DO = """
A packet of a known connection costs {found} {what} now; {recorded} are recorded.
If that was not intended, look at what came into Switch.handle_packet or ShortRoad.take.
If it was: run `lb-switch bench engine packets` before and after on a quiet machine, say in the
commit what the change costs and why it is worth it, and record the new number in this file."""

VERSIONS = ((3, 11), (3, 12), (3, 13))
"""Each has its own bytecode; on others only calls and memory are counted."""

IPV4_TCP_CALLS = ["handle_packet", "take", "unpack_from", "hash", "get", "pack_into", "pack_into"]
IPV6_TCP_CALLS = ["handle_packet", "take", "unpack_from", "hash", "get", "pack_into"]


def udp_calls(tcp_calls: list[str]) -> list[str]:
    """UDP unpacks its own length and checksum."""
    return [*tcp_calls[:2], "unpack_from", *tcp_calls[2:]]


class Case(NamedTuple):
    """One kind of packet.  opcodes: recorded instructions, in the order of VERSIONS."""

    protocol: int
    client: str
    vip: str
    rip: str
    to_server: bool
    opcodes: tuple[int, int, int]
    calls: list[str]


V4, V6 = (CLIENT, VIP, RIP), (CLIENT6, VIP6, RIP6)
CASES = {
    "tcp-v4-to-server": Case(TCP, *V4, True, (279, 279, 278), IPV4_TCP_CALLS),
    "tcp-v4-to-client": Case(TCP, *V4, False, (275, 275, 273), IPV4_TCP_CALLS),
    "tcp-v6-to-server": Case(TCP, *V6, True, (261, 262, 259), IPV6_TCP_CALLS),
    "tcp-v6-to-client": Case(TCP, *V6, False, (257, 258, 254), IPV6_TCP_CALLS),
    "udp-v4-to-server": Case(UDP, *V4, True, (280, 277, 279), udp_calls(IPV4_TCP_CALLS)),
    "udp-v4-to-client": Case(UDP, *V4, False, (276, 273, 274), udp_calls(IPV4_TCP_CALLS)),
    "udp-v6-to-server": Case(UDP, *V6, True, (262, 260, 258), udp_calls(IPV6_TCP_CALLS)),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def one_more(case: Case) -> Callable[[], None]:
    """Make a switch that knows the connection; return what gives it one more packet of it."""
    switch = Switch()
    address = f"[{case.vip}]:{PORT}" if ":" in case.vip else f"{case.vip}:{PORT}"
    real = f"[{case.rip}]:{REAL_PORT}" if ":" in case.rip else f"{case.rip}:{REAL_PORT}"
    switch.add_virtual_server(
        VirtualServer(
            "v",
            Endpoint.parse(address),
            case.protocol,
            RoundRobin(),
            [RealServer(Endpoint.parse(real))],
        )
    )
    client, vip, rip = (case.client, CLIENT_PORT), (case.vip, PORT), (case.rip, REAL_PORT)
    buffer = bytearray(HEADROOM + 2000)

    def handle(packet: bytes) -> None:
        buffer[HEADROOM : HEADROOM + len(packet)] = packet
        switch.handle_packet(buffer, HEADROOM, len(packet), 1.0)

    data = b"x" * 1000
    if case.protocol == TCP:
        handle(tcp(client, vip, "S", seq=1))
        handle(tcp(rip, client, "SA", seq=1, ack=2))
        handle(tcp(client, vip, "A", seq=2, ack=2))
        packet = (
            tcp(client, vip, "PA", data, seq=2, ack=2)
            if case.to_server
            else tcp(rip, client, "PA", data, seq=2, ack=2)
        )
    else:
        handle(udp(client, vip, data))
        packet = udp(client, vip, data) if case.to_server else udp(rip, client, data)
    size = len(packet)
    end = HEADROOM + size

    def once() -> None:
        buffer[HEADROOM:end] = packet
        switch.handle_packet(buffer, HEADROOM, size, 1.0)

    # The packet is what it is meant to be: known, and rewritten.
    before = switch.counters[Reason.KNOWN_CONNECTION]
    once()
    assert switch.counters[Reason.KNOWN_CONNECTION] == before + 1
    changed = dissect(buffer[HEADROOM:end])
    assert (changed.dst if case.to_server else changed.src) == (
        case.rip if case.to_server else case.vip
    )
    return once


@each_case
@pytest.mark.skipif(sys.version_info[:2] not in VERSIONS, reason="bytecode of another Python")
def test_instructions(case: Case) -> None:
    recorded = case.opcodes[VERSIONS.index(sys.version_info[:2])]
    found = work.opcodes(one_more(case))
    assert found > 0
    assert found <= recorded, WHAT_TO_DO.format(
        what="bytecode instructions", found=found, recorded=recorded
    )


WHOLE_CONNECTION = (6620, 6270, 6170)
"""Recorded instructions for eight packets, in the order of VERSIONS."""


@pytest.mark.skipif(sys.version_info[:2] not in VERSIONS, reason="bytecode of another Python")
def test_a_whole_connection() -> None:
    """From SYN to the last ACK: opening, a request, an answer, closing."""
    switch = Switch()
    servers = [RealServer(Endpoint.parse(f"{RIP}:{REAL_PORT}"))]
    vip = Endpoint.parse(f"{VIP}:{PORT}")
    switch.add_virtual_server(VirtualServer("v", vip, TCP, RoundRobin(), servers))
    client, vs, rs = (CLIENT, CLIENT_PORT), (VIP, PORT), (RIP, REAL_PORT)
    packets = [
        tcp(client, vs, "S", seq=1),
        tcp(rs, client, "SA", seq=1, ack=2),
        tcp(client, vs, "A", seq=2, ack=2),
        tcp(client, vs, "PA", b"request", seq=2, ack=2),
        tcp(rs, client, "PA", b"answer", seq=2, ack=9),
        tcp(rs, client, "FA", seq=8, ack=9),
        tcp(client, vs, "FA", seq=9, ack=9),
        tcp(rs, client, "A", seq=9, ack=10),
    ]
    buffer = bytearray(HEADROOM + 2000)

    def live() -> None:
        for packet in packets:
            buffer[HEADROOM : HEADROOM + len(packet)] = packet
            switch.handle_packet(buffer, HEADROOM, len(packet), 1.0)

    live()  # what is made once, for the first connection of a real server
    found = work.opcodes(live)  # port reuse: the first one gives way
    (connection,) = switch.connections
    assert connection.state is State.TIME_WAIT
    assert connection.traffic_to_server.packets == connection.traffic_to_client.packets == 4
    assert switch.counters[Reason.PORT_REUSE] == 1
    recorded = WHOLE_CONNECTION[VERSIONS.index(sys.version_info[:2])]
    assert found <= recorded, WHAT_TO_DO.format(
        what="bytecode instructions in its life", found=found, recorded=recorded
    )


@each_case
def test_calls(case: Case) -> None:
    once = one_more(case)
    assert isinstance(once, FunctionType)
    found = work.calls(once, once.__code__)
    assert len(found) <= len(case.calls), WHAT_TO_DO.format(
        what="calls", found=f"{len(found)} ({', '.join(found)})", recorded=len(case.calls)
    )


@each_case
def test_nothing_is_left_behind(case: Case) -> None:
    once = one_more(case)
    blocks = work.growth(once, TIMES)
    assert blocks < TIMES // 100, WHAT_TO_DO.format(
        what=f"memory blocks in {TIMES} packets", found=blocks, recorded=0
    )
    objects = work.containers(once, TIMES)
    assert objects < TIMES // 100, WHAT_TO_DO.format(
        what=f"objects for the garbage collector in {TIMES} packets", found=objects, recorded=0
    )
