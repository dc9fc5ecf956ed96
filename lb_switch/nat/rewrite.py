"""Apply a translation to a packet: the readable road.

The short road does the same in one breath; tests prove that both give identical bytes.
"""

from __future__ import annotations

from lb_switch.nat.translation import Translation
from lb_switch.packet import checksum
from lb_switch.packet.ipv4 import IPv4Header
from lb_switch.packet.parse import Packet
from lb_switch.packet.protocol import TCP, UDP
from lb_switch.packet.tcp import TCPHeader
from lb_switch.packet.udp import UDPHeader


def rewrite(packet: Packet, translation: Translation) -> None:
    """Write the translation's addresses and ports into the packet and mend its checksums.

    The packet is a TCP or UDP packet, whole or a first fragment.  Checksums that were wrong
    before are wrong by as much afterwards.
    """
    rewrite_addresses(packet, translation)
    if translation.ports:
        l4 = packet.l4
        packet.buffer[l4 + translation.ports_at : l4 + translation.ports_end] = translation.ports
    _update_l4_checksum(packet, translation)


def rewrite_addresses(packet: Packet, translation: Translation) -> None:
    """Write only the addresses, and mend the IPv4 header checksum."""
    buffer, start = packet.buffer, packet.start
    buffer[start + translation.addresses_at : start + translation.addresses_end] = (
        translation.addresses
    )
    if packet.version == 4:
        header = IPv4Header(buffer, start)
        header.header_checksum = checksum.update(header.header_checksum, translation.ip_delta)


def _update_l4_checksum(packet: Packet, translation: Translation) -> None:
    if packet.protocol == TCP:
        segment = TCPHeader(packet.buffer, packet.l4)
        if packet.partial:
            segment.checksum = checksum.update_partial(segment.checksum, translation.partial_delta)
        else:
            segment.checksum = checksum.update(segment.checksum, translation.l4_delta)
    elif packet.protocol == UDP:
        datagram = UDPHeader(packet.buffer, packet.l4)
        if packet.partial:
            datagram.checksum = checksum.update_partial(
                datagram.checksum, translation.partial_delta
            )
        else:
            datagram.checksum = checksum.update_udp(datagram.checksum, translation.l4_delta)
