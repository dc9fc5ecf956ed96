"""Partial checksums, completed: compared with scapy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt

from lb_switch.engine.packet.checksum import pseudo_header_sum
from lb_switch.engine.packet.partial import complete_checksum
from lb_switch.engine.packet.protocol import TCP, UDP
from tests.support.packets import tcp, udp

ENDS = {4: (("10.0.1.2", 1234), ("10.0.2.2", 80)), 6: (("fd00::1", 1234), ("fd00::2", 80))}


def made_partial(packet: bytes, protocol: int, l4: int) -> bytes:
    """The packet with its checksum as a sender leaves it to its network card."""
    first, size = (12, 4) if packet[0] >> 4 == 4 else (8, 16)
    source, destination = packet[first:][:size], packet[first + size :][:size]
    total = pseudo_header_sum(source, destination, protocol, len(packet) - l4)
    field = l4 + (16 if protocol == TCP else 6)
    return packet[:field] + total.to_bytes(2, "big") + packet[field + 2 :]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
@given(payload=st.binary(max_size=200), start=st.integers(0, 3))
def test_the_checksum_is_the_senders(
    version: int, protocol: int, payload: bytes, start: int
) -> None:
    source, destination = ENDS[version]
    if protocol == TCP:
        packet = tcp(source, destination, "PA", payload)
    else:
        packet = udp(source, destination, payload)
    partial = made_partial(packet, protocol, 20 if version == 4 else 40)
    buffer = bytearray(start) + partial + b"\xee" * 3
    complete_checksum(buffer, start, start + len(packet))
    assert buffer[start:-3] == packet


@pytest.mark.parametrize("size", [2027, 2028, 2029, 4076, 4077, 65_000, 65_001])
def test_large_segments_too(size: int) -> None:
    packet = tcp(*ENDS[4], "PA", (bytes(range(1, 252)) * 260)[:size])
    buffer = bytearray(made_partial(packet, TCP, 20))
    complete_checksum(buffer, 0, len(buffer))
    assert buffer == packet


def test_extension_headers_are_walked_over() -> None:
    header = IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrDestOpt()
    packet = bytes(header / inet.TCP(sport=1, dport=2))
    buffer = bytearray(made_partial(packet, TCP, 48))
    complete_checksum(buffer, 0, len(buffer))
    assert buffer == packet


def test_a_sum_of_zero_is_sent_as_its_other_zero() -> None:
    """RFC 768: zero would say that there is no checksum."""
    source, destination = ENDS[4]
    near = udp(source, destination, b"\0\0")
    packet = udp(source, destination, near[26:28])
    buffer = bytearray(made_partial(packet, UDP, 20))
    complete_checksum(buffer, 0, len(buffer))
    assert buffer[26:28] == b"\xff\xff"


@pytest.mark.parametrize(
    "packet",
    [
        bytes(inet.IP(src="10.0.1.2", dst="10.0.2.2") / inet.ICMP() / b"echo"),
        tcp(*ENDS[4], "S"),
    ],
)
def test_other_protocols_are_left_alone(packet: bytes) -> None:
    buffer = bytearray(packet)
    complete_checksum(buffer, 0, len(buffer), UDP)
    assert buffer == packet


@pytest.mark.parametrize(("protocol", "sent"), [(TCP, 0), (UDP, 0xFFFF)])
def test_a_sum_of_zero(protocol: int, sent: int) -> None:
    """UDP's zero says that there is none (RFC 768); TCP has a checksum always."""
    at = 36 if protocol == TCP else 26
    payload = b"payload." + bytes(2)
    packet = tcp(*ENDS[4], "PA", payload) if protocol == TCP else udp(*ENDS[4], payload)
    for last in range(1 << 16):
        packet = packet[:-2] + last.to_bytes(2, "big")
        buffer = bytearray(made_partial(packet, protocol, 20))
        complete_checksum(buffer, 0, len(buffer))
        if int.from_bytes(buffer[at : at + 2], "big") in {0, 0xFFFF}:
            break
    assert int.from_bytes(buffer[at : at + 2], "big") == sent
