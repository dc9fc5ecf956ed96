"""Packets of an attacker, byte by byte.  Addresses and ports are packed, checksums are right.

Wrong ones would be dropped by the first host that looks: an attacker sends sound packets.
"""

from __future__ import annotations

import struct

TCP = 6
UDP = 17
ICMP = 1
ICMPV6 = 58

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

MORE = 1
"""More fragments follow."""
_FRAGMENT_HEADER = 44
"""IPv6's next header number of a fragment header."""
_HOPS = 64

_IPV4 = struct.Struct("!BBHHHBBH").pack
_IPV6 = struct.Struct("!IHBB").pack
_PSEUDO = struct.Struct("!II").pack
_TCP = struct.Struct("!4sIIBBHHH").pack
_UDP = struct.Struct("!4sHH").pack


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of data, not all zero, whose checksum field is zero.

    A sum in one's complement is a remainder of the division by 0xFFFF; 0 and 0xFFFF are one number.
    """
    total = int.from_bytes(data if len(data) % 2 == 0 else data + b"\0", "big") % 0xFFFF
    return 0xFFFF - (total or 0xFFFF)


def ip(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    """An IPv4 or IPv6 packet that is not a fragment."""
    if len(source) == 16:
        return _IPV6(6 << 28, len(body), protocol, _HOPS) + source + destination + body
    return _ipv4(source, destination, protocol, 0, 0x4000, body)


def fragment(
    source: bytes,
    destination: bytes,
    protocol: int,
    identification: int,
    offset: int,
    more: int,
    body: bytes,
) -> bytes:
    """One fragment.  offset: of its first byte, a multiple of 8; more: MORE or 0."""
    if len(source) == 16:
        place = struct.pack("!BBHI", protocol, 0, offset | more, identification)
        return ip(source, destination, _FRAGMENT_HEADER, place + body)
    place4 = more << 13 | offset // 8
    return _ipv4(source, destination, protocol, identification & 0xFFFF, place4, body)


def _ipv4(
    source: bytes, destination: bytes, protocol: int, number: int, place: int, body: bytes
) -> bytes:
    length = 20 + len(body)
    head = _IPV4(0x45, 0, length, number, place, _HOPS, protocol, 0) + source + destination
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def tcp(
    source: bytes,
    destination: bytes,
    ports: bytes,
    flags: int,
    sequence: int,
    acked: int = 0,
    payload: bytes = b"",
) -> bytes:
    """A TCP segment in its IP packet.  ports: source and destination port, 4 bytes."""
    segment = _TCP(ports, sequence, acked, 0x50, flags, 64_240, 0, 0) + payload
    total = checksum(source + destination + _PSEUDO(len(segment), TCP) + segment)
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    return ip(source, destination, TCP, segment)


def udp(source: bytes, destination: bytes, ports: bytes, payload: bytes) -> bytes:
    """A UDP datagram in its IP packet."""
    return ip(source, destination, UDP, udp_datagram(source, destination, ports, payload))


def udp_datagram(source: bytes, destination: bytes, ports: bytes, payload: bytes) -> bytes:
    """A UDP datagram without an IP header, for those who cut it up."""
    datagram = _UDP(ports, 8 + len(payload), 0) + payload
    # 0 would say that there is none (RFC 768).
    total = checksum(source + destination + _PSEUDO(len(datagram), UDP) + datagram) or 0xFFFF
    return datagram[:6] + total.to_bytes(2, "big") + datagram[8:]


def icmp_error(source: bytes, destination: bytes, kind: int, code: int, quoted: bytes) -> bytes:
    """An ICMP or ICMPv6 error that quotes a packet."""
    protocol = ICMPV6 if len(source) == 16 else ICMP
    message = bytes((kind, code, 0, 0, 0, 0, 0, 0)) + quoted
    # Only ICMPv6 sums a pseudo-header (RFC 4443, section 2.3).
    pseudo = source + destination + _PSEUDO(len(message), ICMPV6) if protocol == ICMPV6 else b""
    total = checksum(pseudo + message)
    return ip(source, destination, protocol, message[:2] + total.to_bytes(2, "big") + message[4:])
