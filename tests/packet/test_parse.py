"""Reading headers: right, or refused with a reason; never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw

from lb_switch.engine.packet.flow_key import destination_endpoint, reverse, source_endpoint
from lb_switch.engine.packet.parse import Packet, ParseError, parse
from lb_switch.engine.verdict import Reason

V4 = {"src": "10.0.1.11", "dst": "10.0.1.100"}
V6 = {"src": "2001:db8::1", "dst": "2001:db8::100"}
TCP_SYN = TCP(sport=40000, dport=80, flags="S")


def read(packet: ScapyPacket | bytes, padding: bytes = b"") -> Packet:
    data = bytes(packet) + padding
    return parse(bytearray(b"\x00" * 7 + data), 7, len(data))


@pytest.mark.parametrize(
    ("sentence", "packet", "l4"),
    [
        ("IPv4", IP(**V4) / TCP_SYN, 20),
        ("IPv4 with options", IP(**V4, options=[IPOption_NOP()] * 8) / TCP_SYN, 28),
        ("IPv4 with all options", IP(**V4, options=[IPOption_NOP()] * 40) / TCP_SYN, 60),
        ("IPv6", IPv6(**V6) / TCP_SYN, 40),
        ("IPv6, hop-by-hop", IPv6(**V6) / IPv6ExtHdrHopByHop() / TCP_SYN, 48),
        (
            "IPv6, three extension headers",
            IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt() / TCP_SYN,
            64,
        ),
        ("IPv6, atomic fragment", IPv6(**V6) / IPv6ExtHdrFragment(offset=0, m=0) / TCP_SYN, 48),
    ],
)
def test_where_the_headers_are(sentence: str, packet: ScapyPacket, l4: int) -> None:
    data = bytes(packet)
    read_packet = read(data)
    assert read_packet.l4 - read_packet.start == l4, sentence
    assert read_packet.end - read_packet.start == len(data)
    assert read_packet.protocol == 6
    assert read_packet.fragment is None
    addresses = V6 if packet.version == 6 else V4
    assert str(source_endpoint(read_packet.key).ip) == addresses["src"]
    assert source_endpoint(read_packet.key).port == 40000
    assert str(destination_endpoint(read_packet.key).ip) == addresses["dst"]
    assert destination_endpoint(read_packet.key).port == 80
    assert source_endpoint(reverse(read_packet.key)) == destination_endpoint(read_packet.key)


def test_padding_is_not_part_of_the_packet() -> None:
    packet = read(IP(**V4) / UDP(sport=1, dport=2) / b"abc", padding=b"\x00" * 15)
    assert packet.payload[8:] == b"abc"


@pytest.mark.parametrize(
    ("sentence", "packet", "reason"),
    [
        ("nothing", b"", Reason.TRUNCATED),
        ("version 5", b"\x55" + bytes(40), Reason.BAD_HEADER),
        ("half an IPv4 header", bytes(IP(**V4))[:12], Reason.TRUNCATED),
        ("IHL 4", b"\x44" + bytes(IP(**V4) / TCP_SYN)[1:], Reason.BAD_HEADER),
        ("total length inside the header", IP(**V4, len=19) / TCP_SYN, Reason.BAD_HEADER),
        ("total length beyond the packet", IP(**V4, len=41) / TCP_SYN, Reason.TRUNCATED),
        ("no room for TCP", IP(**V4, proto=6) / Raw(bytes(19)), Reason.TRUNCATED),
        ("TCP data offset 4", IP(**V4) / TCP(dataofs=4), Reason.BAD_HEADER),
        ("TCP data offset beyond the packet", IP(**V4) / TCP(dataofs=6), Reason.TRUNCATED),
        ("no room for UDP", IP(**V4, proto=17) / Raw(bytes(7)), Reason.TRUNCATED),
        ("UDP length 7", IP(**V4) / UDP(len=7), Reason.BAD_HEADER),
        ("UDP length beyond the packet", IP(**V4) / UDP(len=9), Reason.TRUNCATED),
        ("no room for ICMP", IP(**V4, proto=1) / Raw(bytes(7)), Reason.TRUNCATED),
        ("half an IPv6 header", bytes(IPv6(**V6))[:39], Reason.TRUNCATED),
        ("payload beyond the packet", IPv6(**V6, plen=21) / TCP_SYN, Reason.TRUNCATED),
        (
            "an extension header that never ends",
            IPv6(**V6) / IPv6ExtHdrHopByHop(nh=0, len=255) / Raw(bytes(8)),
            Reason.TRUNCATED,
        ),
        ("an extension header that is missing", IPv6(**V6, nh=60), Reason.TRUNCATED),
    ],
)
def test_what_contradicts_itself(
    sentence: str, packet: ScapyPacket | bytes, reason: Reason
) -> None:
    with pytest.raises(ParseError) as caught:
        read(packet)
    assert caught.value.reason is reason, sentence


@pytest.mark.parametrize(
    ("packet", "fragment"),
    [
        (IP(**V4, id=7, flags="MF") / UDP(len=3000) / Raw(bytes(1472)), (7, 0, True)),
        (IP(**V4, id=7, flags="MF", frag=185, proto=17) / Raw(bytes(1480)), (7, 1480, True)),
        (IP(**V4, id=7, frag=370, proto=17) / Raw(bytes(20)), (7, 2960, False)),
        (IP(**V4, id=7, flags="DF") / UDP(), None),
        (IPv6(**V6) / IPv6ExtHdrFragment(id=1 << 30, m=1) / UDP(len=99), (1 << 30, 0, True)),
        (
            IPv6(**V6) / IPv6ExtHdrFragment(id=9, offset=6, m=1, nh=17) / Raw(bytes(40)),
            (9, 48, True),
        ),
    ],
)
def test_fragments_are_recognised(
    packet: ScapyPacket, fragment: tuple[int, int, bool] | None
) -> None:
    read_packet = read(packet)
    if fragment is None:
        assert read_packet.fragment is None
    else:
        assert read_packet.fragment is not None
        assert read_packet.fragment[:3] == fragment
        assert read_packet.fragment.start == read_packet.l4
    later = fragment is not None and fragment[1] > 0
    assert read_packet.later_fragment == later
    assert bool(read_packet.key) == (not later), "only a later fragment has no ports"


def test_icmp_has_no_flow_key() -> None:
    packet = read(IP(**V4) / ICMP() / b"ping")
    assert packet.protocol == 1
    assert packet.key == b""


@given(st.binary(max_size=120))
def test_any_bytes_are_a_packet_or_a_parse_error(data: bytes) -> None:
    try:
        packet = parse(bytearray(data), 0, len(data))
    except ParseError:
        return
    assert 0 < packet.l4 <= packet.end <= len(data)


headers = st.sampled_from(
    [
        bytes(IP(**V4) / TCP_SYN / Raw(bytes(20))),
        bytes(IP(**V4) / UDP() / Raw(bytes(20))),
        bytes(IP(**V4) / ICMP() / Raw(bytes(20))),
        bytes(IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment() / TCP_SYN),
    ]
)


@given(headers, st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=4))
def test_bent_packets_are_packets_or_parse_errors(
    data: bytes, changes: list[tuple[int, int]]
) -> None:
    bent = bytearray(data)
    for at, value in changes:
        bent[at % len(bent)] = value
    try:
        packet = parse(bent, 0, len(bent))
    except ParseError:
        return
    assert 0 < packet.l4 <= packet.end <= len(bent)
