"""Tallies: the packets and bytes of both directions in one integer.

Counting a packet is one addition of a number made beforehand, and a connection keeps one integer
instead of four: what CPython allocates for two of half the size would take 48 bytes more.

    bits   0 to  47   bytes to the real server (256 TiB)
    bits  48 to  95   packets to the real server
    bits  96 to 143   bytes to the client
    bits 144 and up   packets to the client
"""

from __future__ import annotations

from typing import NamedTuple

_BITS = 48
_MASK = (1 << _BITS) - 1
_BOTH = (1 << 2 * _BITS) - 1
_LONGEST = 0xFFFF + 40
"""Bytes of the longest IP packet: an IPv6 payload of 65,535 and its header."""

TO_SERVER = tuple((1 << _BITS) + length for length in range(_LONGEST + 1))
"""What one packet to the real server adds, by its length in bytes."""
TO_CLIENT = tuple(each << 2 * _BITS for each in TO_SERVER)
"""What one packet to the client adds, by its length in bytes."""


ONE_PACKET = 1 << _BITS
"""A packet of no bytes, in one direction."""


def by_direction(tally: int) -> tuple[int, int]:
    """Split into what went to the real server and to the client: bytes below ONE_PACKET each."""
    return tally & _BOTH, tally >> 2 * _BITS


class Traffic(NamedTuple):
    """Packets, and bytes of IP packets (headers included)."""

    packets: int
    bytes: int


def traffic_to_server(tally: int) -> Traffic:
    """Read what went to the real server."""
    return Traffic(tally >> _BITS & _MASK, tally & _MASK)


def traffic_to_client(tally: int) -> Traffic:
    """Read what went to the client."""
    return traffic_to_server(tally >> 2 * _BITS)
