"""Which checksums of a packet are right: computed naively, sharing no code with the switch.

A switch that rewrites addresses must leave every checksum exactly as right, or as wrong, as it
was: compare `soundness` before and after.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_CHECKSUM_AT = {1: 2, 6: 16, 17: 6, 58: 2}
_PSEUDO_HEADER = frozenset({6, 17, 58})


class Soundness(NamedTuple):
    """`ip` and `l4`: True (right), False (wrong) or None (there is none, or it cannot be told)."""

    ip: bool | None
    l4: bool | None


def sum16(data: bytes | bytearray) -> int:
    """Add up 16-bit words, carries and all, to 16 bits: RFC 1071 as it stands there."""
    if len(data) % 2:
        data += b"\x00"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Layout(NamedTuple):
    """Where things are in a packet; `fragment` says whether it is part of a datagram."""

    addresses: slice
    protocol: int
    l4: int
    end: int
    fragment: bool


def layout(data: bytes) -> Layout:
    """Find the headers of a packet that the switch has accepted."""
    if data[0] >> 4 == 4:
        length, offset = struct.unpack_from("!2xH2xH", data)
        l4 = (data[0] & 15) * 4
        return Layout(slice(12, 20), data[9], l4, length, bool(offset & 0x3FFF))
    protocol, at, fragment = data[6], 40, False
    end = 40 + int.from_bytes(data[4:6], "big")
    while protocol in {0, 43, 44, 60} and not fragment:
        if protocol == 44:
            fragment = int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF9 != 0
        size = 8 if protocol == 44 else (data[at + 1] + 1) * 8
        protocol, at = data[at], at + size
    return Layout(slice(8, 40), protocol, at, end, fragment)


def soundness(data: bytes, partial: bool = False) -> Soundness:
    """Verify the checksums of a packet that the switch has accepted.

    `partial`: the L4 field is to hold the plain sum of the pseudo-header.
    """
    addresses, protocol, l4, end, fragment = layout(data)
    ip = sum16(data[:l4]) == 0xFFFF if data[0] >> 4 == 4 else None
    at = _CHECKSUM_AT.get(protocol)
    if fragment or at is None or l4 + at + 2 > end:
        return Soundness(ip, None)
    pseudo = data[addresses] + struct.pack("!II", end - l4, protocol)
    field = data[l4 + at : l4 + at + 2]
    if partial and protocol in {6, 17}:
        return Soundness(ip, sum16(pseudo) % 0xFFFF == int.from_bytes(field, "big") % 0xFFFF)
    if protocol == 17:
        if field == b"\x00\x00":
            return Soundness(ip, None)
        udp_end = l4 + int.from_bytes(data[l4 + 4 : l4 + 6], "big")
        pseudo = data[addresses] + struct.pack("!II", udp_end - l4, protocol)
        return Soundness(ip, sum16(pseudo + data[l4:udp_end]) == 0xFFFF)
    if protocol == 1:
        pseudo = b""
    return Soundness(ip, sum16(pseudo + data[l4:end]) == 0xFFFF)


def repaired(data: bytes, partial: bool = False) -> bytes:
    """Return the packet with its checksums computed anew, where it has any."""
    addresses, protocol, l4, end, fragment = layout(data)
    packet = bytearray(data)
    if packet[0] >> 4 == 4:
        packet[10:12] = b"\x00\x00"
        packet[10:12] = (sum16(packet[:l4]) ^ 0xFFFF).to_bytes(2, "big")
    at = _CHECKSUM_AT.get(protocol)
    if fragment or at is None or l4 + at + 2 > end:
        return bytes(packet)
    pseudo = bytes(packet[addresses]) + struct.pack("!II", end - l4, protocol)
    packet[l4 + at : l4 + at + 2] = b"\x00\x00"
    if partial and protocol in {6, 17}:
        value = sum16(pseudo)
    else:
        value = sum16((b"" if protocol == 1 else pseudo) + packet[l4:end]) ^ 0xFFFF
        if protocol == 17:
            value = value or 0xFFFF
    packet[l4 + at : l4 + at + 2] = value.to_bytes(2, "big")
    return bytes(packet)
