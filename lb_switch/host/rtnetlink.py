"""Hears that interfaces, addresses, routes or rules have changed (rtnetlink(7)).

What has changed is read by `ip`; here only *that* something has, and whether it was an interface or
an address: what the kernel takes away along with these, nobody has taken away on purpose.
"""

from __future__ import annotations

import socket
import struct

_GROUPS = (1, 5, 7, 8, 9, 11, 19)
"""RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV6_RULE
(linux/rtnetlink.h)."""
_LINK_OR_ADDRESS = range(16, 24)
"""RTM_NEWLINK to RTM_GETADDR."""
_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1


class Changes:
    """A socket that is readable when something has changed."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def read(self) -> bool:
        """Read all that has come; whether an interface or an address was among it."""
        found = False
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError:  # ENOBUFS: more than the kernel had room for
                return True
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                found = found or kind in _LINK_OR_ADDRESS
                at += max(_HEADER.size, length + 3 & ~3)
