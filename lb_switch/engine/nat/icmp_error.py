"""ICMP errors about translated packets (RFC 5508, section 4.2; RFC 7915 has the same shape).

A router that cannot deliver a packet quotes the beginning of it: at least 8 bytes behind its IP
header, so the ports are there.  It quotes what *it* saw, which is the packet after translation; its
receiver sent or expects the packet before.  So the quoted addresses and ports are translated back,
and the outer addresses as those of any packet in that direction.

    error on its way       quoted packet                    becomes
    to the client          client -> RIP, as sent on        client -> VIP, as the client sent it
    to the real server     VIP -> client, as sent on        RIP -> client, as the server sent it

Every checksum on the way is updated, never recomputed.
"""

from __future__ import annotations

from typing import NamedTuple

from lb_switch.engine.nat.translation import Translation
from lb_switch.engine.packet import checksum, icmp, ipv4, ipv6
from lb_switch.engine.packet.flow_key import FlowKey, reverse
from lb_switch.engine.packet.icmp import ICMPHeader
from lb_switch.engine.packet.ipv4 import IPv4Header
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP, UDP

_PORTS_AND_SOME = 8
"""RFC 792: an error quotes the IP header and 64 bits of what follows."""


class Quoted(NamedTuple):
    """The packet that an error quotes: buffer offsets, protocol and flow key."""

    start: int
    l4: int
    end: int
    protocol: int
    key: bytes


def is_error(packet: Packet) -> bool:
    """Whether an ICMP or ICMPv6 packet is an error of a kind that is translated."""
    kind = packet.buffer[packet.l4]
    if packet.version == 4:
        return packet.protocol == ICMP and kind in icmp.ERROR_TYPES
    return packet.protocol == ICMPV6 and kind in icmp.V6_ERROR_TYPES


def quoted_packet(packet: Packet) -> Quoted | None:
    """Find the TCP or UDP packet that the error quotes; None if its receiver sent no such one."""
    buffer, end = packet.buffer, packet.end
    start = packet.l4 + icmp.HEADER_LENGTH
    if packet.version == 4:
        if start + ipv4.MIN_LENGTH > end:
            return None
        header = IPv4Header(buffer, start)
        l4 = start + header.header_length
        if header.version != 4 or header.header_length < ipv4.MIN_LENGTH or header.fragment_offset:
            return None
        protocol = header.protocol
        addresses = buffer[start + 12 : start + 20]
    else:
        if start + ipv6.HEADER_LENGTH > end or buffer[start] >> 4 != 6:
            return None
        protocol, l4 = buffer[start + 6], start + ipv6.HEADER_LENGTH
        seen_headers = 0
        while protocol in ipv6.EXTENSION_HEADERS:
            seen_headers += 1
            if l4 + 8 > end or seen_headers > ipv6.MAX_EXTENSION_HEADERS:
                return None
            size = 8 if protocol == ipv6.FRAGMENT else (buffer[l4 + 1] + 1) * 8
            if protocol == ipv6.FRAGMENT and int.from_bytes(buffer[l4 + 2 : l4 + 4], "big") >> 3:
                return None
            protocol, l4 = buffer[l4], l4 + size
        addresses = buffer[start + 8 : start + 40]
    if protocol not in {TCP, UDP} or l4 + _PORTS_AND_SOME > end:
        return None
    if bytes(addresses[: len(addresses) // 2]) != packet.destination:
        # An error goes to whoever sent what it quotes: this one is forged.
        return None
    return Quoted(start, l4, end, protocol, bytes(addresses + buffer[l4 : l4 + 4]))


def translate_error(
    packet: Packet, quoted: Quoted, original_key: bytes, reply_key: bytes, *, to_server: bool
) -> None:
    """Rewrite an error on its way to the real server, or to the client.

    The keys are those of the connection that it is about, as its packets arrive.
    """
    before = bytes(packet.buffer[quoted.start : quoted.end])
    if to_server:
        _rewrite_quoted(packet, quoted, reply_key)
        away = FlowKey.of(reply_key)
        full_nat = away.destination != FlowKey.of(original_key).source
        source = away.destination if full_nat else packet.source
        destination = away.source
    else:
        _rewrite_quoted(packet, quoted, original_key)
        original = FlowKey.of(original_key)
        source, destination = original.destination, original.source
    after = bytes(packet.buffer[quoted.start : quoted.end])
    # What changes lies in whole words, so an odd last byte is not among it.
    even = len(before) & ~1
    change = checksum.delta(before[:even], after[:even])
    old_addresses = packet.source + packet.destination
    outer = checksum.delta(old_addresses, source + destination)
    header = ICMPHeader(packet.buffer, packet.l4)
    if packet.version == 4:
        ip_header = IPv4Header(packet.buffer, packet.start)
        ip_header.source, ip_header.destination = source, destination
        ip_header.header_checksum = checksum.update(ip_header.header_checksum, outer)
        header.checksum = checksum.update(header.checksum, change)
    else:
        packet.buffer[packet.start + 8 : packet.start + 40] = source + destination
        header.checksum = checksum.update(header.checksum, checksum.fold(change + outer))


def _rewrite_quoted(packet: Packet, quoted: Quoted, new_key: bytes) -> None:
    buffer = packet.buffer
    translation = Translation(quoted.key, new_key)
    start, l4 = quoted.start, quoted.l4
    buffer[start + translation.addresses_at : start + translation.addresses_end] = (
        translation.addresses
    )
    buffer[l4 + translation.ports_at : l4 + translation.ports_end] = translation.ports
    if packet.version == 4:
        header = IPv4Header(buffer, start)
        header.header_checksum = checksum.update(header.header_checksum, translation.ip_delta)
    at = l4 + (16 if quoted.protocol == TCP else 6)
    if at + 2 > quoted.end:
        return
    old = int.from_bytes(buffer[at : at + 2], "big")
    update = checksum.update if quoted.protocol == TCP else checksum.update_udp
    buffer[at : at + 2] = update(old, translation.l4_delta).to_bytes(2, "big")


def reversed_key(quoted: Quoted) -> bytes:
    """Return the key under which the table knows the connection that the error is about."""
    return reverse(quoted.key)
