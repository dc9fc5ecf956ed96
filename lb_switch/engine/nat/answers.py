"""Packets the switch makes itself: resets, port-unreachable errors and echo replies.

They are made from nothing, so their checksums are computed, not updated.
"""

from __future__ import annotations

import struct

from lb_switch.engine.packet import checksum, icmp, ipv4, ipv6, tcp
from lb_switch.engine.packet.icmp import ICMPHeader
from lb_switch.engine.packet.ipv4 import IPv4Header
from lb_switch.engine.packet.ipv6 import IPv6Header
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP
from lb_switch.engine.packet.tcp import TCPHeader

TTL = 64

# Ports, sequence and acknowledgement number, data offset, flags, window, checksum, urgent pointer.
_SEGMENT = struct.Struct("!4sIIBBHHH").pack
_WINDOW = 512
"""Said in segments made from nothing.  Nobody is to believe it, and whoever does is not to stop."""

_V4_QUOTE = 576 - ipv4.MIN_LENGTH - icmp.HEADER_LENGTH
"""RFC 1812, section 4.3.2.3: as much of the datagram as fits into 576 bytes."""
_V6_QUOTE = 1280 - ipv6.HEADER_LENGTH - icmp.HEADER_LENGTH
"""RFC 4443, section 2.4 (c): as much as fits into the minimum IPv6 MTU."""


def reset(packet: Packet) -> bytes:
    """Answer a TCP segment with a RST, as a closed port does (RFC 9293, section 3.10.7.1).

    The segment must not be a RST itself.  The answer is acceptable to the sender in every
    state: its sequence number is the one the sender last acknowledged.
    """
    segment = TCPHeader(packet.buffer, packet.l4)
    answer = bytearray(tcp.MIN_LENGTH)
    header = TCPHeader(answer)
    header.source_port = segment.destination_port
    header.destination_port = segment.source_port
    header.offset_byte = (tcp.MIN_LENGTH // 4) << 4
    if segment.flags & tcp.ACK:
        header.flags = tcp.RST
        header.sequence = segment.acknowledgement
    else:
        length = packet.end - packet.l4 - segment.header_length
        length += bool(segment.flags & tcp.SYN) + bool(segment.flags & tcp.FIN)
        header.flags = tcp.RST | tcp.ACK
        header.acknowledgement = (segment.sequence + length) & 0xFFFFFFFF
    header.checksum = checksum.internet_checksum(answer, _pseudo_sum(packet, TCP, len(answer)))
    return _ip_header_of_answer(packet, TCP, len(answer)) + answer


def segment(key: bytes, flags: int, sequence: int, acknowledged: int = 0) -> bytes:
    """Make a TCP segment of a flow key without options and data."""
    size = (len(key) - 4) // 2
    source, destination = key[:size], key[size : 2 * size]
    l4 = bytearray(
        _SEGMENT(key[-4:], sequence, acknowledged, tcp.MIN_LENGTH << 2, flags, _WINDOW, 0, 0)
    )
    pseudo = checksum.pseudo_header_sum(source, destination, TCP, tcp.MIN_LENGTH)
    TCPHeader(l4).checksum = checksum.internet_checksum(l4, pseudo)
    return _ip_header(source, destination, TCP, tcp.MIN_LENGTH, 0, ipv4.DONT_FRAGMENT) + l4


def port_unreachable(packet: Packet) -> bytes:
    """Answer with ICMP port unreachable (RFC 1122, section 3.2.2.1; RFC 4443, section 3.1)."""
    whole = bytes(packet.buffer[packet.start : packet.end])
    if packet.version == 4:
        kind, code, quote = icmp.DESTINATION_UNREACHABLE, icmp.PORT_UNREACHABLE, whole[:_V4_QUOTE]
    else:
        kind, code = icmp.V6_DESTINATION_UNREACHABLE, icmp.V6_PORT_UNREACHABLE
        quote = whole[:_V6_QUOTE]
    return _icmp_answer(packet, kind, code, 0, quote)


def echo_reply(packet: Packet) -> bytes:
    """Answer an echo request: same identifier, sequence number and data (RFC 792, RFC 4443)."""
    request = ICMPHeader(packet.buffer, packet.l4)
    kind = icmp.ECHO_REPLY if packet.version == 4 else icmp.V6_ECHO_REPLY
    data = bytes(packet.buffer[packet.l4 + icmp.HEADER_LENGTH : packet.end])
    return _icmp_answer(packet, kind, 0, request.rest, data)


def _icmp_answer(packet: Packet, kind: int, code: int, rest: int, data: bytes) -> bytes:
    message = bytearray(icmp.HEADER_LENGTH) + data
    header = ICMPHeader(message)
    header.type, header.code, header.rest = kind, code, rest
    if packet.version == 4:
        header.checksum = checksum.internet_checksum(message)
        return _ip_header_of_answer(packet, ICMP, len(message)) + message
    header.checksum = checksum.internet_checksum(message, _pseudo_sum(packet, ICMPV6, len(message)))
    return _ip_header_of_answer(packet, ICMPV6, len(message)) + message


def _pseudo_sum(packet: Packet, protocol: int, length: int) -> int:
    return checksum.pseudo_header_sum(packet.destination, packet.source, protocol, length)


def _ip_header_of_answer(packet: Packet, protocol: int, payload_length: int) -> bytes:
    """Make the IP header of a packet that goes back to where `packet` came from."""
    # All but an echo reply are short: nobody has to cut them, and they need no identification.
    identification, flags = 0, ipv4.DONT_FRAGMENT
    if protocol == ICMP and packet.buffer[packet.l4] == icmp.ECHO_REQUEST:
        # What this has to be fragmented by, its request was: same identification, same DF.
        asked = IPv4Header(packet.buffer, packet.start)
        identification = asked.identification
        flags = asked.flags_and_offset & ipv4.DONT_FRAGMENT
    return _ip_header(
        packet.destination, packet.source, protocol, payload_length, identification, flags
    )


def _ip_header(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload_length: int,
    identification: int,
    flags: int,
) -> bytes:
    """Make an IP header; the last two are only IPv4's."""
    if len(source) == 4:
        buffer = bytearray(ipv4.MIN_LENGTH)
        header = IPv4Header(buffer)
        header.version_ihl = 0x45
        header.total_length = ipv4.MIN_LENGTH + payload_length
        header.identification = identification
        header.flags_and_offset = flags
        header.ttl = TTL
        header.protocol = protocol
        header.source, header.destination = source, destination
        header.recompute_checksum()
    else:
        buffer = bytearray(ipv6.HEADER_LENGTH)
        header6 = IPv6Header(buffer)
        header6.version_class_label = 6 << 28
        header6.payload_length = payload_length
        header6.next_header = protocol
        header6.hop_limit = TTL
        header6.source, header6.destination = source, destination
    return bytes(buffer)
