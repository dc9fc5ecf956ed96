"""A keyed hash over chosen parts of a flow key, for `sh` and `mh`."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

PARTS = ("src_ip", "dst_ip", "src_port", "dst_port")
"""What may be hashed, in the order in which a flow key holds it."""

DEFAULT_HASH_KEY = "lb-switch"
"""Stands in for an empty hash key: the choice is reproducible, and predictable to anybody."""


class KeyHash:
    """Maps a flow key to 64 bits.

    The hash is BLAKE2b (RFC 7693) with a secret key: who does not know `hash_key` cannot aim
    many connections at one real server.  It depends on the key and the packet alone, never on the
    process (as Python's own `hash` of bytes does).  `purpose` (at most 16 bytes of ASCII) keeps
    the values of different uses independent.

    Raises ValueError if `parts` is empty or holds an unknown name.
    """

    __slots__ = ("_prototype", "_slices", "parts")

    def __init__(self, parts: Iterable[str], hash_key: str, purpose: str) -> None:
        wanted = set(parts)
        unknown = sorted(wanted.difference(PARTS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
        if not wanted:
            raise ValueError(f"choose at least one of {', '.join(PARTS)}")
        self.parts = tuple(part for part in PARTS if part in wanted)
        self._slices = {36: _slices(self.parts, 16), 12: _slices(self.parts, 4)}
        self._prototype = keyed_blake2b(hash_key, purpose)

    def __call__(self, key: bytes) -> int:
        """Hash the chosen parts of a 12-byte (IPv4) or 36-byte (IPv6) flow key."""
        state = self._prototype.copy()
        for part in self._slices[len(key)]:
            state.update(key[part])
        return int.from_bytes(state.digest(), "big")


def keyed_blake2b(hash_key: str, purpose: str) -> blake2b:
    """Return a BLAKE2b state of 8 bytes' digest, ready to be copied and fed."""
    # BLAKE2b takes at most 64 bytes of key; a longer passphrase must not be an error.
    key = blake2b((hash_key or DEFAULT_HASH_KEY).encode()).digest()
    return blake2b(digest_size=8, key=key, person=purpose.encode())


def _slices(parts: tuple[str, ...], address: int) -> tuple[slice, ...]:
    """Where the parts lie in a flow key with addresses of that many bytes; neighbours as one."""
    lengths = {"src_ip": address, "dst_ip": address, "src_port": 2, "dst_port": 2}
    merged: list[slice] = []
    start = 0
    for part in PARTS:
        end = start + lengths[part]
        if part in parts:
            if merged and merged[-1].stop == start:
                merged[-1] = slice(merged[-1].start, end)
            else:
                merged.append(slice(start, end))
        start = end
    return tuple(merged)
