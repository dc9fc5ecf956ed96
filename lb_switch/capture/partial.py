"""A partial L4 checksum, completed: for whoever gives a packet back to a kernel that will not."""

from __future__ import annotations

from lb_switch.packet.parse import parse
from lb_switch.packet.protocol import TCP, UDP

_FIELD = {TCP: 16, UDP: 6}
"""Where the checksum is in the L4 header."""
_PIECE = 2048
"""Bytes summed as one number (an even count): to divide 64 KiB takes twice the time of its parts.
"""


def complete_checksum(buffer: bytearray, start: int, end: int, only: int | None = None) -> None:
    """Complete the L4 checksum of the whole IP packet buffer[start:end], if it is TCP or UDP.

    The field holds the sum of the pseudo-header so far, not inverted.  `only`: leave packets of
    another protocol than this one alone.
    """
    first = buffer[start]
    if first < 0x50:
        protocol, at = buffer[start + 9], start + (first & 0xF) * 4
    else:
        protocol, at = _payload_of_ipv6(buffer, start, end)
    if protocol not in _FIELD or (only and only != protocol):
        return
    field = at + _FIELD[protocol]
    # In one's complement a sum is the number modulo 0xFFFF, and 0 is 0xFFFF: which is what UDP must
    # send instead (RFC 768), and TCP may.  A division takes a tenth of a loop over the words.
    total = 0
    while end - at > _PIECE:
        total += int.from_bytes(buffer[at : at + _PIECE], "big")
        at += _PIECE
    total += int.from_bytes(buffer[at:end], "big") << (8 if end - at & 1 else 0)
    checksum = 0xFFFF - total % 0xFFFF
    buffer[field] = checksum >> 8
    buffer[field + 1] = checksum & 0xFF


def _payload_of_ipv6(buffer: bytearray, start: int, end: int) -> tuple[int, int]:
    """Return the packet's L4 protocol, and where in the buffer its header is."""
    if buffer[start + 6] in _FIELD:
        return buffer[start + 6], start + 40
    packet = parse(buffer, start, end - start, partial=True)
    return packet.protocol, packet.l4
