"""Whether a packet was damaged on its way: its checksums, verified.

A switch that forwards need not look, as it passes damage on for the receiver to see.  One that
answers must: an answer would call the packet sound.  One that opens a connection does not: it would
take a third of what opening takes, and an entry that nobody confirms gives way first anyway.
"""

from __future__ import annotations

from lb_switch.engine.packet.checksum import ones_complement_sum, pseudo_header_sum
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP, UDP
from lb_switch.engine.packet.udp import UDPHeader

_CHECKSUMMED = frozenset({TCP, UDP, ICMP, ICMPV6})
_CHECKSUM_AT = {TCP: 16, UDP: 6}
_SOUND = 0xFFFF
"""The sum over everything, checksum included (RFC 1071, section 1)."""


def is_damaged(packet: Packet) -> bool:
    """Whether the checksum of the IPv4 header or of what it carries is wrong.

    The latter is not verified where it cannot be: of a fragment only a part is there, a partial
    checksum is still to be completed, and a UDP checksum of zero says that there is none.
    """
    buffer, start, l4 = packet.buffer, packet.start, packet.l4
    if packet.version == 4:
        end_of_header = start + (buffer[start] & 0x0F) * 4
        if ones_complement_sum(buffer[start:end_of_header]) != _SOUND:
            return True
    protocol, end = packet.protocol, packet.end
    if packet.partial or packet.fragment is not None or protocol not in _CHECKSUMMED:
        return False
    if protocol == UDP:
        header = UDPHeader(buffer, l4)
        if header.checksum == 0:
            return False
        end = l4 + header.length
    if protocol in _CHECKSUM_AT:
        addresses = packet.source + packet.destination
        return segment_is_damaged(buffer, l4, end, addresses, protocol)
    pseudo = 0
    if protocol != ICMP:
        pseudo = pseudo_header_sum(packet.source, packet.destination, protocol, end - l4)
    return ones_complement_sum(buffer[l4:end], pseudo) != _SOUND


def segment_is_damaged(
    buffer: bytearray, l4: int, end: int, addresses: bytes, protocol: int
) -> bool:
    """Whether the checksum of the TCP segment or UDP datagram `buffer[l4:end]` is wrong.

    `addresses` are source and destination, one behind the other.  A checksum that holds the sum of
    the pseudo-header alone is left over from a capture on the sending machine, whose network card
    was still to complete it.
    """
    pseudo = ones_complement_sum(addresses, protocol + end - l4)
    if ones_complement_sum(buffer[l4:end], pseudo) == _SOUND:
        return False
    at = l4 + _CHECKSUM_AT[protocol]
    return int.from_bytes(buffer[at : at + 2], "big") != pseudo
