"""Packets made by hand, byte by byte, where scapy would take too long.

Their checksums are zero until `tests.support.soundness.repaired` computes them.
"""

from __future__ import annotations

import struct


def ip_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Return an IPv4 or IPv6 header for `length` bytes behind it.  Addresses are packed."""
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + source + destination
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 7, 0x4000, 64, protocol, 0)
    return head + source + destination


def tcp_segment(ports: bytes, flags: int, sequence: int, acked: int, payload: bytes) -> bytes:
    """Return a TCP segment without options; `ports` are both, packed."""
    return ports + struct.pack("!IIBBHHH", sequence, acked, 0x50, flags, 512, 0, 0) + payload


def udp_datagram(ports: bytes, payload: bytes) -> bytes:
    """Return a UDP datagram."""
    return ports + struct.pack("!HH", 8 + len(payload), 0) + payload
