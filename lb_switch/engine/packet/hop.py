"""The hop: a packet that the switch forwards has passed one router, whatever the capture does.

Also the destination of a packet, the other header field that captures look at themselves.
"""

from __future__ import annotations

from lb_switch.engine.packet import checksum
from lb_switch.engine.packet.ipv4 import IPv4Header
from lb_switch.engine.packet.ipv6 import IPv6Header

ONE_HOP = checksum.delta(b"\x01\x00", b"\x00\x00")
"""TTL is the upper byte of its 16-bit word: what one hop less does to the sum of an IPv4 header."""


def destination_of(buffer: bytearray, start: int, end: int) -> bytes:
    """Return the destination address of the IP packet at `buffer[start:end]`, if it is whole."""
    first, last = (16, 20) if buffer[start] >> 4 == 4 else (24, 40)
    return bytes(buffer[start + first : min(start + last, end)])


def give_hop_back(buffer: bytearray, start: int) -> None:
    """Raise the TTL (hop limit) of the IP packet at `buffer[start:]` by one; 255 stays.

    The IPv4 checksum follows by RFC 1624, equation 3: the sum falls by 0x0100, in one's complement.
    """
    if buffer[start] < 0x50:
        ttl = buffer[start + 8]
        if ttl == 255:
            return
        buffer[start + 8] = ttl + 1
        high = buffer[start + 10]
        if high:
            buffer[start + 10] = high - 1
        elif buffer[start + 11]:
            buffer[start + 10] = 0xFF
            buffer[start + 11] -= 1
        else:
            buffer[start + 10], buffer[start + 11] = 0xFE, 0xFF
    elif buffer[start + 7] < 255:
        buffer[start + 7] += 1


def with_hop_back(packet: bytes) -> bytes:
    """Return a copy of an IP packet with one hop given back."""
    buffer = bytearray(packet)
    give_hop_back(buffer, 0)
    return bytes(buffer)


def with_hop_taken(packet: bytes) -> bytes:
    """Return a copy of an IP packet as a router sends it on; one without a hop left is kept."""
    return after_one_hop(packet) or packet


def after_one_hop(packet: bytes) -> bytes | None:
    """Return a copy of an IP packet as a router sends it on; None if that was its last hop."""
    buffer = bytearray(packet)
    if buffer[0] >> 4 == 4:
        header = IPv4Header(buffer)
        if header.ttl <= 1:
            return None
        header.ttl -= 1
        header.header_checksum = checksum.update(header.header_checksum, ONE_HOP)
    else:
        header6 = IPv6Header(buffer)
        if header6.hop_limit <= 1:
            return None
        header6.hop_limit -= 1
    return bytes(buffer)
