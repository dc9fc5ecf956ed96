"""From a buffer to a `Packet`: where its headers are, and its flow key.

Every length is checked against the one that encloses it before anything behind it is read, so
that no packet, however it lies about itself, makes the switch look or write outside it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from lb_switch.engine.packet import icmp, ipv4, ipv6, tcp, udp
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP, UDP
from lb_switch.engine.verdict import Reason

_IPV4 = struct.Struct("!BxHxxHxBxx")


class ParseError(Exception):
    """The packet contradicts itself; `reason` is the one to count."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Fragment(NamedTuple):
    """What makes a packet part of a datagram (RFC 791, section 3.2; RFC 8200, section 4.5)."""

    identification: int
    """16 bits, or 32 for IPv6."""
    offset: int
    """Of its payload in that of the datagram, in bytes."""
    more: bool
    """Whether others follow."""
    start: int
    """Where its part of the payload begins in the buffer."""


class Packet:
    """One IP packet in a buffer: offsets into it, never copies.

    `start`  of the IP header          `l4`   of the TCP, UDP or ICMP header
    `end`    of the IP packet by its own length: bytes behind it are padding
    `key`    the flow key (TCP and UDP only, and not of later fragments; else empty)
    `fragment`   None for a whole packet
    """

    __slots__ = (
        "buffer",
        "end",
        "fragment",
        "key",
        "l4",
        "partial",
        "protocol",
        "start",
        "version",
    )

    def __init__(
        self,
        buffer: bytearray,
        start: int,
        end: int,
        version: int,
        protocol: int,
        l4: int,
        partial: bool,
    ) -> None:
        self.buffer = buffer
        self.start = start
        self.end = end
        self.version = version
        self.protocol = protocol
        self.l4 = l4
        self.partial = partial
        self.key = b""
        self.fragment: Fragment | None = None

    @property
    def source(self) -> bytes:
        """The source address, 4 or 16 bytes."""
        if self.version == 4:
            return bytes(self.buffer[self.start + 12 : self.start + 16])
        return bytes(self.buffer[self.start + 8 : self.start + 24])

    @property
    def destination(self) -> bytes:
        """The destination address, 4 or 16 bytes."""
        if self.version == 4:
            return bytes(self.buffer[self.start + 16 : self.start + 20])
        return bytes(self.buffer[self.start + 24 : self.start + 40])

    @property
    def later_fragment(self) -> bool:
        """Whether this is a fragment without the L4 header."""
        return self.fragment is not None and self.fragment.offset > 0

    @property
    def payload(self) -> bytes:
        """What follows the IP header and its options or extension headers."""
        return bytes(self.buffer[self.l4 : self.end])


def parse(buffer: bytearray, start: int, length: int, partial: bool = False) -> Packet:
    """Read the headers of the IP packet at `buffer[start:start + length]`.

    `partial` says that the L4 checksum field holds only the pseudo-header sum.
    Raises ParseError, and nothing else, for any bytes whatever.
    """
    if length < 1:
        raise ParseError(Reason.TRUNCATED, "an empty packet")
    version = buffer[start] >> 4
    if version == 4:
        packet = _parse_ipv4(buffer, start, length, partial)
    elif version == 6:
        packet = _parse_ipv6(buffer, start, length, partial)
    else:
        raise ParseError(Reason.BAD_HEADER, f"IP version {version}")
    if not packet.later_fragment:
        _parse_l4(packet)
    return packet


def _parse_ipv4(buffer: bytearray, start: int, length: int, partial: bool) -> Packet:
    if length < ipv4.MIN_LENGTH:
        raise ParseError(Reason.TRUNCATED, f"{length} bytes hold no IPv4 header")
    version_ihl, total_length, flags_and_offset, protocol = _IPV4.unpack_from(buffer, start)
    header_length = (version_ihl & 0x0F) * 4
    if header_length < ipv4.MIN_LENGTH:
        raise ParseError(Reason.BAD_HEADER, f"header length {header_length}")
    if total_length < header_length:
        raise ParseError(Reason.BAD_HEADER, f"total length {total_length} is less than the header")
    if total_length > length:
        raise ParseError(Reason.TRUNCATED, f"total length {total_length}, but {length} bytes")
    packet = Packet(
        buffer, start, start + total_length, 4, protocol, start + header_length, partial
    )
    if flags_and_offset & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK):
        packet.fragment = Fragment(
            int.from_bytes(buffer[start + 4 : start + 6], "big"),
            (flags_and_offset & ipv4.OFFSET_MASK) * 8,
            bool(flags_and_offset & ipv4.MORE_FRAGMENTS),
            packet.l4,
        )
    return packet


def _parse_ipv6(buffer: bytearray, start: int, length: int, partial: bool) -> Packet:
    if length < ipv6.HEADER_LENGTH:
        raise ParseError(Reason.TRUNCATED, f"{length} bytes hold no IPv6 header")
    total_length = ipv6.HEADER_LENGTH + int.from_bytes(buffer[start + 4 : start + 6], "big")
    if total_length > length:
        raise ParseError(Reason.TRUNCATED, f"payload ends at {total_length}, but {length} bytes")
    end = start + total_length
    protocol = buffer[start + 6]
    at = start + ipv6.HEADER_LENGTH
    packet = Packet(buffer, start, end, 6, protocol, at, partial)
    seen_headers = fragment_headers = 0
    while protocol in ipv6.EXTENSION_HEADERS:
        seen_headers += 1
        if seen_headers > ipv6.MAX_EXTENSION_HEADERS:
            raise ParseError(Reason.BAD_HEADER, f"more than {seen_headers - 1} extension headers")
        if at + 8 > end:
            raise ParseError(Reason.TRUNCATED, "an extension header goes beyond the packet")
        if protocol == ipv6.ROUTING and buffer[at + 3]:
            # Segments left: it is under way to another address, which the L4 checksum covers.
            break
        if protocol == ipv6.FRAGMENT:
            fragment_headers += 1
            if fragment_headers > 1:
                raise ParseError(Reason.BAD_HEADER, "a fragment of a fragment")
            offset_and_more = int.from_bytes(buffer[at + 2 : at + 4], "big")
            # RFC 6946: offset 0 and no more to come is an atomic fragment, a whole packet.
            if offset_and_more & 0xFFF9:
                packet.fragment = Fragment(
                    int.from_bytes(buffer[at + 4 : at + 8], "big"),
                    offset_and_more & 0xFFF8,
                    bool(offset_and_more & 1),
                    at + 8,
                )
            size = 8
        else:
            size = (buffer[at + 1] + 1) * 8
        protocol = buffer[at]
        at += size
        if at > end:
            raise ParseError(Reason.TRUNCATED, "an extension header goes beyond the packet")
        if packet.later_fragment:
            break
    packet.protocol = protocol
    packet.l4 = at
    return packet


def _parse_l4(packet: Packet) -> None:
    buffer, l4, protocol = packet.buffer, packet.l4, packet.protocol
    room = packet.end - l4
    if protocol == TCP:
        if room < tcp.MIN_LENGTH:
            raise ParseError(Reason.TRUNCATED, f"{room} bytes hold no TCP header")
        header_length = (buffer[l4 + 12] >> 4) * 4
        if header_length < tcp.MIN_LENGTH:
            raise ParseError(Reason.BAD_HEADER, f"TCP header length {header_length}")
        if header_length > room:
            raise ParseError(Reason.TRUNCATED, f"TCP header of {header_length} in {room} bytes")
    elif protocol == UDP:
        if room < udp.HEADER_LENGTH:
            raise ParseError(Reason.TRUNCATED, f"{room} bytes hold no UDP header")
        length = int.from_bytes(buffer[l4 + 4 : l4 + 6], "big")
        if length < udp.HEADER_LENGTH:
            raise ParseError(Reason.BAD_HEADER, f"UDP length {length}")
        if length > room and packet.fragment is None:
            raise ParseError(Reason.TRUNCATED, f"UDP length {length} in {room} bytes")
    elif protocol in {ICMP, ICMPV6}:
        if room < icmp.HEADER_LENGTH:
            raise ParseError(Reason.TRUNCATED, f"{room} bytes hold no ICMP header")
        return
    else:
        return
    start = packet.start
    if packet.version == 4:
        addresses = buffer[start + 12 : start + 20]
    else:
        addresses = buffer[start + 8 : start + 40]
    packet.key = bytes(addresses + buffer[l4 : l4 + 4])
