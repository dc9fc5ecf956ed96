"""The hop: a packet that the switch forwards has passed one router, whatever the capture does.

Also the destination of a packet, the other header field that captures look at themselves.
"""

from __future__ import annotations

from lb_switch.engine.packet import checksum

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
    if buffer[0] < 0x50:
        ttl = buffer[8]
        if ttl <= 1:
            return None
        buffer[8] = ttl - 1
        total = (buffer[10] << 8 | buffer[11]) ^ 0xFFFF
        total += ONE_HOP
        new = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
        buffer[10], buffer[11] = new >> 8, new & 0xFF
    else:
        if buffer[7] <= 1:
            return None
        buffer[7] -= 1
    return bytes(buffer)
