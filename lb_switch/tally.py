"""Tallies: packets and bytes in one integer, so that counting a packet is one addition.

A tally holds packets above bit 48 and bytes below it: adding `ONE_PACKET + length` counts both.
48 bits of bytes are 256 TiB; packets have no bound.
"""

from __future__ import annotations

from typing import NamedTuple

_BYTE_BITS = 48

ONE_PACKET = 1 << _BYTE_BITS


class Traffic(NamedTuple):
    """Packets, and bytes of IP packets (headers included)."""

    packets: int
    bytes: int

    @classmethod
    def of(cls, tally: int) -> Traffic:
        """Read a tally."""
        return cls(tally >> _BYTE_BITS, tally & (ONE_PACKET - 1))
