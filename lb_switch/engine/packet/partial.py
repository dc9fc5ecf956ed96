"""A partial L4 checksum, completed: for a kernel that will not, or for a file to be read."""

from __future__ import annotations

from lb_switch.engine.packet.checksum import internet_checksum
from lb_switch.engine.packet.parse import parse
from lb_switch.engine.packet.protocol import TCP, UDP

_FIELD = {TCP: 16, UDP: 6}
"""Where the checksum is in the L4 header."""


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
    checksum = internet_checksum(buffer[at:end])
    if checksum == 0 and protocol == UDP:
        checksum = 0xFFFF  # zero says that there is none (RFC 768)
    buffer[field] = checksum >> 8
    buffer[field + 1] = checksum & 0xFF


def _payload_of_ipv6(buffer: bytearray, start: int, end: int) -> tuple[int, int]:
    """Return the packet's L4 protocol, and where in the buffer its header is."""
    if buffer[start + 6] in _FIELD:
        return buffer[start + 6], start + 40
    packet = parse(buffer, start, end - start, partial=True)
    return packet.protocol, packet.l4
