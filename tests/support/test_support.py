"""The tests' own tools: would they notice?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Raw

from tests.support.fragments import fragments, reassembled
from tests.support.packets import corrupted, differences, edited, recomputed, tcp, udp
from tests.support.soundness import Soundness, layout, repaired, soundness, sum16
from tests.support.wire import ip_header, tcp_segment, udp_datagram

V4: Any = IP(src="10.0.1.1", dst="10.0.1.2", options=[IPOption_NOP()] * 4)
V6: Any = IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
L4 = [TCP(sport=1, dport=2), UDP(sport=1, dport=2), ICMP(), ICMPv6EchoRequest()]
SAMPLES = [
    (bytes(head / l4 / Raw(b"an odd payload!")), head is V4)
    for head in (V4, V6)
    for l4 in L4
    if isinstance(l4, ICMP) <= (head is V4) and isinstance(l4, ICMPv6EchoRequest) <= (head is V6)
]


@pytest.mark.parametrize(("data", "four"), SAMPLES)
def test_scapys_packets_are_sound_and_damaged_ones_are_not(data: bytes, four: bool) -> None:
    assert soundness(data) == Soundness(True if four else None, True)
    assert soundness(corrupted(data, len(data) - 1)).l4 is False
    if four:
        assert soundness(corrupted(data, 8)).ip is False
    assert repaired(corrupted(data, len(data) - 1)) != data
    assert repaired(data) == data == recomputed(data)
    assert layout(data).end == len(data)


def test_what_cannot_be_told() -> None:
    assert soundness(udp(("10.0.1.1", 5), ("10.0.1.2", 6), b"x", chksum=0)).l4 is None
    part = bytes(IPv6(src="::1", dst="::2") / IPv6ExtHdrFragment(m=1) / Raw(bytes(24)))
    assert soundness(part) == Soundness(None, None)


def test_the_example_of_rfc_1071() -> None:
    assert sum16(bytes([0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])) == 0xDDF2


@given(st.binary(max_size=60), st.sampled_from([4, 6]), st.sampled_from([6, 17]))
def test_packets_made_by_hand_are_scapys(payload: bytes, version: int, protocol: int) -> None:
    source, destination = (
        ("2001:db8::1", "2001:db8::2") if version == 6 else ("10.1.1.1", "10.1.1.2")
    )
    if protocol == 6:
        expected = tcp((source, 1), (destination, 2), "PA", payload, seq=3, ack=4, window=512)
        l4 = tcp_segment(b"\x00\x01\x00\x02", 0x18, 3, 4, payload)
    else:
        expected = udp((source, 1), (destination, 2), payload)
        l4 = udp_datagram(b"\x00\x01\x00\x02", payload)
    addresses = expected[8:40] if version == 6 else expected[12:20]
    half = len(addresses) // 2
    head = ip_header(addresses[:half], addresses[half:], protocol, len(l4))
    if version == 4:  # the identification is arbitrary
        head = head[:4] + expected[4:6] + head[6:]
    assert repaired(head + l4) == expected


@pytest.mark.parametrize("six", [False, True])
def test_fragments_and_back(six: bool) -> None:
    ends = (("2001:db8::1", 1), ("2001:db8::2", 2)) if six else (("10.1.1.1", 1), ("10.1.1.2", 2))
    whole = udp(*ends, bytes(range(100)))
    parts = fragments(whole, [2, 5, 9], identification=1)
    assert len(parts) == 4
    again = reassembled(parts[::-1])
    assert again[-108:] == whole[-108:]
    if six:
        assert again == whole
    with pytest.raises(AssertionError):
        reassembled(parts[:3])
    with pytest.raises(AssertionError):
        reassembled([parts[0], parts[1], parts[3]])
    with pytest.raises(AssertionError):
        reassembled([*parts, parts[1]])
    others = fragments(whole, [2, 5, 9], identification=2)
    with pytest.raises(AssertionError):
        reassembled([*parts[:3], others[3]])


def test_editing_changes_what_it_says() -> None:
    data = udp(("10.1.1.1", 1), ("10.1.1.2", 2), b"abc")
    assert edited(data, destination=("10.1.1.2", 2)) == data
    assert soundness(edited(data, source=("10.9.9.9", 9))) == Soundness(True, True)


@pytest.mark.parametrize("six", [False, True])
def test_differences_name_the_fields(six: bool) -> None:
    ends = (("2001:db8::1", 1), ("2001:db8::2", 2)) if six else (("10.1.1.1", 1), ("10.1.1.2", 2))
    one = tcp(*ends, "S", seq=5)
    assert differences(one, one) == []
    other = edited(one, destination=(ends[1][0], 8080))
    found = differences(one, other)
    assert [line.partition(":")[0] for line in found] == ["TCP dport", "TCP chksum"]
    assert "expected http_alt" in found[0] or "expected 8080" in found[0]
    assert differences(one + one, one + other)[0].startswith("packet 2 TCP dport")
    assert differences(one + b"end", one) == ["behind: 656e64, expected "]
