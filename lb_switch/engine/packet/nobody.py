"""Addresses that no packet on a wire can honestly come from."""

from __future__ import annotations

_FIRST_MULTICAST = 224  # and what is reserved behind it, the limited broadcast at the end
_V6_MULTICAST = 0xFF
_V4_MAPPED = bytes(10) + b"\xff\xff"
_UNSPECIFIED_AND_LOOPBACK = frozenset({bytes(16), bytes(15) + b"\x01"})


def is_nobodys(source: bytes) -> bool:
    """Whether no machine can send from this address (4 or 16 bytes).

    IPv4: this network, loopback, multicast, reserved and broadcast (RFC 1122, section 3.2.1.3).
    IPv6: unspecified, loopback, multicast (RFC 4291, section 2.5 to 2.7), and IPv4-mapped, which is
    for use within a machine (RFC 6890, table 20: neither source nor forwardable).
    """
    first = source[0]
    if len(source) == 4:
        return first >= _FIRST_MULTICAST or first in {0, 127}
    if first:
        return first == _V6_MULTICAST
    return source in _UNSPECIFIED_AND_LOOPBACK or source[:12] == _V4_MAPPED
