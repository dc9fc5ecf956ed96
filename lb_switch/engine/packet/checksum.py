"""The Internet checksum, and how to mend it when only a few words of a packet change.

The checksum (RFC 1071) is the one's complement of the one's complement sum of 16-bit words.  A
switch that rewrites an address must not recompute it: a packet that was damaged on its way would
leave with a checksum that calls it sound.  It *updates* it instead (RFC 1624, equation 3):

    HC' = ~(~HC + ~m + m')

for every word `m` that becomes `m'`.  The part `~m + m'` depends on the translation alone, so it
is summed once per translation: its *delta*.
"""

from __future__ import annotations

import struct

Buffer = bytes | bytearray | memoryview

_PIECE = 2048
"""Bytes summed as one number (an even count): to divide 64 KiB takes twice the time of its parts.
"""


def fold(total: int) -> int:
    """Fold carries back into 16 bits: one's complement addition (RFC 1071, section 2)."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ones_complement_sum(data: Buffer, initial: int = 0) -> int:
    """Sum 16-bit big-endian words of `data`, an odd last byte padded with zero.  16 bits."""
    # The one's complement sum of a number's words is the number modulo 0xFFFF (only all zeros sum
    # up to 0, else that is 0xFFFF): a division takes a tenth of a loop over the words.
    at, end = 0, len(data)
    total = initial
    while end - at > _PIECE:
        total += int.from_bytes(data[at : at + _PIECE], "big")
        at += _PIECE
    total += int.from_bytes(data[at:], "big") << (8 if end & 1 else 0)
    return total % 0xFFFF or min(total, 0xFFFF)


def internet_checksum(data: Buffer, initial: int = 0) -> int:
    """Return the checksum to store for `data`, whose checksum field must hold zero.  16 bits."""
    return ones_complement_sum(data, initial) ^ 0xFFFF


def pseudo_header_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """Sum the pseudo-header of TCP and UDP (RFC 9293, section 3.1; RFC 8200, section 8.1).

    `source` and `destination` are 4 or 16 bytes; `length` is that of the L4 header and payload.
    """
    return fold(
        ones_complement_sum(source)
        + ones_complement_sum(destination)
        + protocol
        + (length >> 16)
        + (length & 0xFFFF)
    )


def delta(old: bytes, new: bytes) -> int:
    """Sum `~m + m'` over the words that change.  Both of one even length.  16 bits.

    Adding a delta is associative: the delta of two replaced fields is the folded sum of theirs.
    """
    count = len(old) // 2
    old_words = struct.unpack(f"!{count}H", old)
    new_words = struct.unpack(f"!{count}H", new)
    return fold(sum((m ^ 0xFFFF) + m2 for m, m2 in zip(old_words, new_words, strict=True)))


def update(checksum: int, change: int) -> int:
    """Apply a delta to a stored checksum (RFC 1624, equation 3).  16 bits."""
    return fold((checksum ^ 0xFFFF) + change) ^ 0xFFFF


def update_udp(checksum: int, change: int) -> int:
    """Apply a delta to a UDP checksum.

    Zero means "not computed" and stays so; a result of zero is sent as 0xFFFF (RFC 768).
    """
    if checksum == 0:
        return 0
    return update(checksum, change) or 0xFFFF


def update_partial(pseudo_sum: int, change: int) -> int:
    """Apply a delta to a *partial* checksum: the plain pseudo-header sum, not inverted.

    That is what the field holds while a network card (or a virtio-like device) is still to
    complete it.  The pseudo-header has addresses but no ports, so `change` must cover only those.
    """
    return fold(pseudo_sum + change)
