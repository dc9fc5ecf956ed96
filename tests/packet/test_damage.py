"""Damage is seen wherever a checksum covers it; scapy made the sound packets."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

from lb_switch.engine.packet.damage import is_damaged
from lb_switch.engine.packet.parse import parse

V4: dict[str, Any] = {"src": "10.0.1.11", "dst": "10.0.1.100"}
V6: dict[str, Any] = {"src": "2001:db8:1::11", "dst": "2001:db8:1::100"}
WITH_OPTIONS = IP(options=[IPOption_NOP()] * 8, **V4)
WITH_HEADERS = IPv6(**V6) / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt()

SOUND = {
    f"{name} {what}": bytes(head / l4)
    for name, head in {
        "v4": IP(**V4),
        "v4 with options": WITH_OPTIONS,
        "v6": IPv6(**V6),
        "v6 with headers": WITH_HEADERS,
    }.items()
    for what, l4 in {
        "TCP": TCP(flags="S"),
        "TCP, odd": TCP(flags="PA", options=[("MSS", 1460)]) / Raw(b"odd"),
        "UDP": UDP(),
        "UDP, odd": UDP() / Raw(b"seven b"),
        "echo": (ICMP() / Raw(b"odd")) if "v4" in name else ICMPv6EchoRequest(data=b"odd"),
    }.items()
}


def damaged(data: bytes, partial: bool = False) -> bool:
    buffer = bytearray(b"\xa5" * 7 + data + b"\x5a" * 9)
    return is_damaged(parse(buffer, 7, len(data), partial))


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_packet(name: str) -> None:
    assert not damaged(SOUND[name])
    assert not damaged(SOUND[name] + b"padding"), "what trails the packet is not of it"


@pytest.mark.parametrize("name", SOUND)
def test_every_flipped_bit_behind_the_ip_header_is_seen(name: str) -> None:
    data = SOUND[name]
    l4 = parse(bytearray(data), 0, len(data)).l4
    lengths = {12} if "TCP" in name else {4, 5} if "UDP" in name else set()
    for at in set(range(l4, len(data))) - {l4 + each for each in lengths}:
        for bit in range(8):
            bent = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            if "UDP" not in name or bent[l4 + 6 : l4 + 8] != b"\0\0":
                assert damaged(bent), (at, bit)


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("partial", [False, True])
def test_addresses_are_covered(name: str, partial: bool) -> None:
    data = SOUND[name]
    at = 12 if data[0] >> 4 == 4 else 8
    bent = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    covered = data[0] >> 4 == 4 or not partial
    assert damaged(bent, partial) is covered


@pytest.mark.parametrize("at", [1, 4, 8, 10, 11])
@pytest.mark.parametrize("l4", [TCP(), UDP(), ICMP()])
def test_the_header_of_ipv4_has_a_checksum_of_its_own(at: int, l4: Any) -> None:
    for head in (IP(**V4), WITH_OPTIONS):
        data = bytes(head / l4)
        bent = data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :]
        assert damaged(bent)
        assert damaged(bent, partial=True)


def test_a_partial_checksum_is_still_to_be_completed() -> None:
    for name, data in SOUND.items():
        if "echo" in name:
            continue
        l4 = parse(bytearray(data), 0, len(data)).l4
        at = l4 + (16 if "TCP" in name else 6)
        assert not damaged(data[:at] + b"\x12\x34" + data[at + 2 :], partial=True), name


def test_udp_without_a_checksum_cannot_be_damaged() -> None:
    assert not damaged(bytes(IP(**V4) / UDP(chksum=0) / Raw(b"data")))


def test_a_udp_checksum_that_is_sent_as_ones_is_right() -> None:
    for head in (IP(**V4), IPv6(**V6)):
        probe = UDP(sport=1, dport=2) / Raw(b"\0\0")
        missing = type(head)(bytes(head / probe))[UDP].chksum
        data = bytes(head / UDP(sport=1, dport=2) / Raw(missing.to_bytes(2, "big")))
        assert type(head)(data)[UDP].chksum == 0xFFFF
        assert not damaged(data)


def test_udp_ends_where_its_own_length_says() -> None:
    datagram = bytes(UDP(bytes(IP(**V4) / UDP() / Raw(b"four"))[20:]))
    assert not damaged(bytes(IP(proto=17, **V4) / Raw(datagram + b"behind it")))


def test_of_a_fragment_only_the_ip_header_can_be_verified() -> None:
    first = bytes(IP(flags="MF", **V4) / UDP(len=5000, chksum=0xBEEF) / Raw(b"a part"))
    assert not damaged(first)
    assert damaged(first[:8] + b"\x01" + first[9:])
    six = IPv6(**V6) / IPv6ExtHdrFragment(m=1) / UDP(len=5000, chksum=0xBEEF) / Raw(b"a part")
    assert not damaged(bytes(six))
