"""Bytes that look random and that both ends of a transfer can compute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

# A prime length: a transfer that loses or repeats a power-of-two block cannot match by accident.
_BLOCK = hashlib.shake_128(b"lb-switch").digest(65521)


def payload(length: int) -> bytes:
    """The first `length` bytes of the endless, fixed sequence."""
    return b"".join(payload_blocks(length))


def payload_blocks(length: int) -> Iterator[bytes]:
    """The same bytes, in blocks."""
    while length > 0:
        yield _BLOCK[:length]
        length -= len(_BLOCK)


def payload_sha256(length: int) -> str:
    """The SHA-256 of the first `length` bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for block in payload_blocks(length):
        digest.update(block)
    return digest.hexdigest()
