"""Link-layer headers in capture files: where the IP packet begins, and the way back.

Link types are the LINKTYPE_ values of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

ETHERNET = 1

_IP_ETHERTYPES = (0x0800, 0x86DD)
_VLAN_ETHERTYPES = (0x8100, 0x88A8, 0x9100)
"""802.1Q, 802.1ad (QinQ), and the number used for QinQ before it had one."""
_SENT_BY_US = 4
"""LINUX_SLL_OUTGOING: the packet type of a cooked capture's own packets."""


class LinkType(NamedTuple):
    """How to read one kind of link-layer header."""

    name: str
    find_ip: Callable[[bytes], int | None]
    """Offset of the IP packet in a frame; None if the frame holds none."""
    turn_round: Callable[[bytes], bytes]
    """The header of a frame -> the header of an answer to it, of the same length."""


def _behind_ethertype(frame: bytes, type_offset: int, payload: int) -> int | None:
    """Follow an EtherType over any VLAN tags to an IP packet."""
    ethertype = int.from_bytes(frame[type_offset : type_offset + 2], "big")
    while ethertype in _VLAN_ETHERTYPES and len(frame) >= payload + 4:
        ethertype = int.from_bytes(frame[payload + 2 : payload + 4], "big")
        payload += 4
    return payload if ethertype in _IP_ETHERTYPES and len(frame) >= payload else None


def _in_ethernet(frame: bytes) -> int | None:
    return _behind_ethertype(frame, 12, 14)


def _in_cooked_v1(frame: bytes) -> int | None:
    return _behind_ethertype(frame, 14, 16)


def _in_cooked_v2(frame: bytes) -> int | None:
    return _behind_ethertype(frame, 0, 20)


def _in_loopback(frame: bytes) -> int | None:
    """BSD's header: the address family in the byte order of whoever captured."""
    # AF_INET is 2 everywhere; AF_INET6 is 24, 28 or 30 on the BSDs and 10 on Linux.
    family = frame[:4].strip(b"\0")
    known = len(frame) >= 4 and family in (b"\x02", b"\x0a", b"\x18", b"\x1c", b"\x1e")
    return 4 if known else None


def _at_once(frame: bytes) -> int | None:  # noqa: ARG001
    return 0


def _swap_addresses(header: bytes) -> bytes:
    return header[6:12] + header[:6] + header[12:]


def _sent_by_us_v1(header: bytes) -> bytes:
    return _SENT_BY_US.to_bytes(2, "big") + header[2:]


def _sent_by_us_v2(header: bytes) -> bytes:
    return header[:10] + bytes((_SENT_BY_US,)) + header[11:]


def _as_it_is(header: bytes) -> bytes:
    return header


_RAW = LinkType("raw IP", _at_once, _as_it_is)
_LOOPBACK = LinkType("BSD loopback", _in_loopback, _as_it_is)

LINK_TYPES: Mapping[int, LinkType] = {
    0: _LOOPBACK,
    ETHERNET: LinkType("Ethernet", _in_ethernet, _swap_addresses),
    12: _RAW,  # DLT_RAW as most systems number it; it ends up in files
    14: _RAW,  # DLT_RAW on OpenBSD
    101: _RAW,
    108: _LOOPBACK,
    113: LinkType("Linux cooked", _in_cooked_v1, _sent_by_us_v1),
    228: _RAW,
    229: _RAW,
    276: LinkType("Linux cooked v2", _in_cooked_v2, _sent_by_us_v2),
}
"""What can be replayed."""
