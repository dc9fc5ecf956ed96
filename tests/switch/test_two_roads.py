"""The short road and the readable road give identical bytes, counters and states."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import Direction
from lb_switch.engine.packet.protocol import TCP as TCP_NUMBER
from lb_switch.engine.packet.protocol import UDP as UDP_NUMBER
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Verdict
from tests.support.dialogue import CLIENT, CLIENT6, RIPS, RIPS6, VIP, VIP6, make_switch
from tests.support.packets import tcp, udp
from tests.support.roads import ReadableSwitch

HALF_OPEN, HALF_OPEN6 = (CLIENT[0], CLIENT[1] + 1), (CLIENT6[0], CLIENT6[1] + 1)
SERVER_SEQUENCE = 0x1234FFFF
"""Of the half-open connection's SYN; acknowledging it crosses into the next unit of 64 KiB."""


def pair() -> tuple[Switch, Switch]:
    """Two switches in the same state; the second takes only the readable road."""
    pair = []
    for kind in (Switch, ReadableSwitch):
        switch = make_switch(rips=RIPS[:1], kind=kind)
        six = make_switch(VIP6, RIPS6[:1])
        for name, virtual_server in six.virtual_servers.items():
            virtual_server.name = name + "6"
            switch.add_virtual_server(virtual_server)
        for client, half_open, vip, rip in (
            (CLIENT, HALF_OPEN, VIP, RIPS[0]),
            (CLIENT6, HALF_OPEN6, VIP6, RIPS6[0]),
        ):
            for data in (
                tcp(client, vip, "S"),
                tcp(rip, client, "SA", ack=1),
                tcp(client, vip, "A", seq=1, ack=1),
                udp(client, vip),
                tcp(half_open, vip, "S"),
                tcp(rip, half_open, "SA", seq=SERVER_SEQUENCE, ack=1),
            ):
                handle(switch, data, False)
        pair.append(switch)
    return pair[0], pair[1]


def handle(switch: Switch, data: bytes, partial: bool, now: float = 7.0) -> tuple[Verdict, bytes]:
    buffer = bytearray(b"\xaa" * 10 + data + b"\xbb" * 60)
    verdict = switch.handle_packet(buffer, 10, len(data), now, partial)
    return verdict, bytes(buffer)


def facts(connection: Connection) -> tuple[object, ...]:
    watched = connection.unsettled
    return (
        connection.original_key,
        connection.state,
        watched and (watched.fins, watched.resets, watched.closed_by, watched.closed_at),
        connection.last_seen,
        connection.acked_by(Direction.ORIGINAL),
        connection.acked_by(Direction.REPLY),
        connection.tally,
        connection.real_server.tally,
        connection.real_server.active,
        connection.real_server.inactive,
    )


def deadlines(switch: Switch) -> list[float]:
    """Let time pass until all have ended: the moments, and how many there still were."""
    due = []
    while (deadline := switch.next_deadline()) is not None:
        due.append(deadline)
        due.append(len(switch.connections))
        switch.handle_timers(deadline)
    return due


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Draw packets of the known connections, plain ones and bent ones."""
    ways = [
        (CLIENT, VIP),
        (RIPS[0], CLIENT),
        (CLIENT6, VIP6),
        (RIPS6[0], CLIENT6),
        (HALF_OPEN, VIP),
        (RIPS[0], HALF_OPEN),
        (HALF_OPEN6, VIP6),
        (RIPS6[0], HALF_OPEN6),
        (("10.0.1.12", 9), VIP),
    ]
    source, destination = draw(st.sampled_from(ways))
    if ":" in source[0]:
        head = IPv6(src=source[0], dst=destination[0], tc=draw(st.integers(0, 255)))
    else:
        head = IP(
            src=source[0],
            dst=destination[0],
            id=draw(st.integers(0, 65535)),
            flags=draw(st.sampled_from(["", "DF", "MF"])),
            frag=draw(st.sampled_from([0, 0, 0, 3])),
            ttl=draw(st.integers(0, 255)),
        )
    ports = {"sport": source[1], "dport": destination[1]}
    if draw(st.booleans()):
        options = draw(st.sampled_from([[], [("NOP", None)] * 4, [("NOP", None)] * 40]))
        flags = draw(
            st.sampled_from(
                ["A", "A", "A", "PA", "", "S", "SA", "FA", "FA", "F", "FSA", "R", "UA", "EA"]
            )
        )
        near = st.sampled_from([0, 1, 2, 3, 60, SERVER_SEQUENCE + 1, SERVER_SEQUENCE + 2, 1 << 21])
        number = st.one_of(near, near, near, st.integers(0, 2**32 - 1))
        numbers = {"seq": draw(number), "ack": draw(number)}
        l4 = TCP(**ports, flags=flags, options=options, **numbers)
    else:
        l4 = UDP(**ports, **draw(st.sampled_from([{}, {"chksum": 0}, {"len": 8}, {"len": 7}])))
    payload = Raw(draw(st.binary(max_size=70)))
    data = bytearray(bytes(head / l4 / payload))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=2)):
        data[at % len(data)] = value
    if draw(st.booleans()):
        data += draw(st.binary(max_size=9))
    elif draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@given(st.lists(st.tuples(packets(), st.booleans()), max_size=6))
def test_identical(sequence: list[tuple[bytes, bool]]) -> None:
    both, readable_only = pair()
    for number, (data, partial) in enumerate(sequence):
        now = 7.0 + number
        assert handle(both, data, partial, now) == handle(readable_only, data, partial, now)
        assert [facts(c) for c in both.connections] == [facts(c) for c in readable_only.connections]
        assert both.connections.half_open == readable_only.connections.half_open
    assert both.counters == readable_only.counters
    assert deadlines(both) == deadlines(readable_only)


@pytest.mark.parametrize(
    ("client", "vip", "rip"), [(CLIENT, VIP, RIPS[0]), (CLIENT6, VIP6, RIPS6[0])], ids=["v4", "v6"]
)
def test_every_beginning_of_a_connection(
    client: tuple[str, int], vip: tuple[str, int], rip: tuple[str, int]
) -> None:
    """Every sequence of five segments, a SYN first: same bytes, states and accounts."""
    kinds = [
        tcp(client, vip, "S", seq=1000),
        tcp(client, vip, "A", seq=1001, ack=SERVER_SEQUENCE + 1),
        tcp(client, vip, "A", seq=1001, ack=1 << 31),
        tcp(client, vip, "FA", seq=1001, ack=SERVER_SEQUENCE + 1),
        tcp(client, vip, "RA", seq=1001, ack=SERVER_SEQUENCE + 1),
        tcp(rip, client, "SA", seq=SERVER_SEQUENCE, ack=1001),
        tcp(rip, client, "A", seq=SERVER_SEQUENCE + 1, ack=1001),
        tcp(rip, client, "FA", seq=SERVER_SEQUENCE + 1, ack=1001),
    ]
    seen = set()
    for sequence in itertools.product(kinds, repeat=4):
        both = make_switch(vip, (rip,))
        readable_only = make_switch(vip, (rip,), kind=ReadableSwitch)
        for number, data in enumerate((kinds[0], *sequence)):
            now = 7.0 + number
            assert handle(both, data, False, now) == handle(readable_only, data, False, now)
        (connection,), (readable,) = both.connections, readable_only.connections
        assert facts(connection) == facts(readable)
        assert deadlines(both) == deadlines(readable_only)
        seen.add(connection.state.name)
    assert seen == {
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
    }


def test_the_short_road_is_taken() -> None:
    """Or the test above would compare the readable road with itself."""
    switch, readable_only = pair()
    ordinary = [
        tcp(CLIENT, VIP, "A"),
        tcp(CLIENT, VIP, "PA", b"data"),
        tcp(RIPS[0], CLIENT, "A", b"data", options=[("Timestamp", (1, 2))]),
        tcp(CLIENT6, VIP6, "A", seq=1, ack=1),
        tcp(RIPS6[0], CLIENT6, "PA", b"data", seq=1, ack=5),
        udp(CLIENT, VIP, b"twelve bytes"),
        udp(RIPS[0], CLIENT, b"twelve bytes"),
        udp(CLIENT6, VIP6, b"twelve bytes"),
        tcp(RIPS[0], HALF_OPEN, "SA", ack=1),
        tcp(HALF_OPEN, VIP, "A", seq=1, ack=1),
        tcp(RIPS[0], HALF_OPEN, "FA", seq=1, ack=1),
        tcp(HALF_OPEN, VIP, "FA", seq=1, ack=2),
        tcp(CLIENT6, VIP6, "FA", seq=5, ack=5),
        tcp(RIPS6[0], CLIENT6, "FA", seq=5, ack=6),
        tcp(CLIENT6, VIP6, "A", seq=6, ack=6),
    ]
    for data in ordinary:
        before = switch._short_road.packets
        handle(switch, data, False)
        assert switch._short_road.packets == before + 1, data
    assert sorted(c.state.name for c in switch.connections if c.protocol == TCP_NUMBER) == [
        "CLOSE",
        "ESTABLISHED",
        "SYN_RECV",
        "TIME_WAIT",
    ]
    for data in (
        tcp(CLIENT, VIP, "R"),
        tcp(CLIENT, VIP, "S"),
        tcp(CLIENT, VIP, "SA"),
        tcp(CLIENT, VIP, "F"),
        tcp(CLIENT, VIP, ""),
    ):
        before = switch._short_road.packets
        handle(switch, data, False)
        assert switch._short_road.packets == before
    assert readable_only._short_road.packets == 0


def test_both_protocols_are_in_the_table() -> None:
    switch, _ = pair()
    assert {c.protocol for c in switch.connections} == {TCP_NUMBER, UDP_NUMBER}
    assert len(switch.connections) == 6
