"""Apply a translation to a packet: the readable road.

The short road does the same in one function; tests prove that both give identical bytes.
"""

from __future__ import annotations

from lb_switch.engine.nat.translation import Translation
from lb_switch.engine.packet import checksum
from lb_switch.engine.packet.ipv4 import IPv4Header
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.packet.tcp import TCPHeader
from lb_switch.engine.packet.udp import UDPHeader

# Where the checksums are.  A view would say it better, at a microsecond a packet.
_IPV4_CHECKSUM = IPv4Header.header_checksum.offset
_TCP_CHECKSUM = TCPHeader.checksum.offset
_UDP_CHECKSUM = UDPHeader.checksum.offset


def rewrite(packet: Packet, translation: Translation) -> None:
    """Write the translation's addresses and ports into the packet and mend its checksums.

    The packet is a TCP or UDP packet, whole or a first fragment.  Checksums that were wrong
    before are wrong by as much afterwards.
    """
    rewrite_addresses(packet, translation)
    buffer, l4 = packet.buffer, packet.l4
    if translation.ports:
        buffer[l4 + translation.ports_at : l4 + translation.ports_end] = translation.ports
    at = l4 + (_TCP_CHECKSUM if packet.protocol == TCP else _UDP_CHECKSUM)
    old = buffer[at] << 8 | buffer[at + 1]
    if packet.partial:
        new = checksum.update_partial(old, translation.partial_delta)
    elif packet.protocol == TCP:
        new = checksum.update(old, translation.l4_delta)
    else:
        new = checksum.update_udp(old, translation.l4_delta)
    buffer[at], buffer[at + 1] = new >> 8, new & 0xFF


def rewrite_addresses(packet: Packet, translation: Translation) -> None:
    """Write only the addresses, and mend the IPv4 header checksum."""
    buffer, start = packet.buffer, packet.start
    buffer[start + translation.addresses_at : start + translation.addresses_end] = (
        translation.addresses
    )
    if packet.version == 4:
        at = start + _IPV4_CHECKSUM
        new = checksum.update(buffer[at] << 8 | buffer[at + 1], translation.ip_delta)
        buffer[at], buffer[at + 1] = new >> 8, new & 0xFF
