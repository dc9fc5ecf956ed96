"""The hop that a capture gives back or takes, against scapy's recomputation."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from lb_switch.capture.tun import VNET_HEADER
from lb_switch.engine.packet.hop import after_one_hop, destination_of, give_hop_back, with_hop_back


def given_back(packet: bytes) -> bytes:
    buffer = bytearray(b"\xee" * VNET_HEADER + packet + b"\xee" * 4)
    give_hop_back(buffer, VNET_HEADER)
    assert buffer[:VNET_HEADER] == b"\xee" * VNET_HEADER
    assert buffer[-4:] == b"\xee" * 4
    return bytes(buffer[VNET_HEADER:-4])


@pytest.mark.parametrize("ttl", [0, 1, 63, 127, 254])
def test_ipv4_gets_it_back(ttl: int) -> None:
    """Every upper byte of the checksum comes up, borrows included."""
    uppers = set()
    for identification in range(0, 65536, 37):
        fields = {"src": "10.0.1.2", "dst": "10.0.2.11", "id": identification, "proto": 6}
        before = bytes(IP(ttl=ttl, **fields))
        after = bytes(IP(ttl=ttl + 1, **fields))
        assert given_back(before) == with_hop_back(before) == after
        if ttl > 0:
            assert after_one_hop(after) == before
        uppers.add(before[10])
    assert len(uppers) == 256


def test_a_checksum_of_zero_borrows_all_the_way() -> None:
    for checksum, expected in ((0x0000, 0xFEFF), (0x00FF, 0xFFFE), (0x0100, 0x0000)):
        before = bytearray(bytes(IP(ttl=64)))
        before[10:12] = checksum.to_bytes(2)
        assert given_back(bytes(before))[10:12] == expected.to_bytes(2)


def test_a_wrong_checksum_stays_wrong() -> None:
    before = bytearray(bytes(IP(ttl=64, id=5)))
    before[11] ^= 0x10
    after = bytearray(given_back(bytes(before)))
    after[11] ^= 0x10
    assert bytes(after) == bytes(IP(ttl=65, id=5))


def test_ipv6_has_no_checksum_of_its_own() -> None:
    before = bytes(IPv6(src="fd00::1", dst="fd00::2", hlim=63))
    after = bytes(IPv6(src="fd00::1", dst="fd00::2", hlim=64))
    assert given_back(before) == with_hop_back(before) == after
    assert after_one_hop(after) == before


@pytest.mark.parametrize("packet", [bytes(IP(ttl=255)), bytes(IPv6(hlim=255))])
def test_the_largest_value_stays(packet: bytes) -> None:
    assert given_back(packet) == packet


@pytest.mark.parametrize("hops", [0, 1])
def test_the_last_hop_is_the_last(hops: int) -> None:
    assert after_one_hop(bytes(IP(ttl=hops))) is None
    assert after_one_hop(bytes(IPv6(hlim=hops))) is None


@pytest.mark.parametrize("packet", [IP(dst="10.0.1.100"), IPv6(dst="fd00::100")])
def test_where_a_packet_goes(packet: IP | IPv6) -> None:
    data = bytes(packet)
    buffer = bytearray(b"\xee" * 3 + data + b"\xee" * 40)
    whole = destination_of(buffer, 3, 3 + len(data))
    assert whole == data[-len(whole) :]
    assert len(whole) == (4 if data[0] >> 4 == 4 else 16)
    assert destination_of(buffer, 3, 3 + len(data) - 1) != whole
