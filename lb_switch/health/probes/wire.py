"""A TCP connection of a probe.

Not asyncio's streams: these forget what has come as soon as a RST follows it, and a server that
never reads the request ends just so (RFC 9112, section 9.6, names it the TCP reset problem).  Here
what the kernel has received is read first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Self

from lb_switch.health.check import Target


class Wire:
    """One connection, from `open` to `close`."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    @classmethod
    async def open(cls, target: Target) -> Self:
        """Connect.  Raises OSError."""
        family = socket.AF_INET6 if target.ip.version == 6 else socket.AF_INET
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            address = (str(target.ip), target.port)
            await asyncio.get_running_loop().sock_connect(connecting, address)
        except BaseException:
            connecting.close()
            raise
        return cls(connecting)

    async def read(self, size: int) -> bytes:
        """Return at most so many bytes; none: the stream has ended.  Raises OSError."""
        # A read with bytes at hand does not wait: without this, who sends fast stops the rest.
        await asyncio.sleep(0)
        return await asyncio.get_running_loop().sock_recv(self._socket, size)

    def write(self, data: bytes) -> None:
        """Send a few bytes, as a new connection's buffer takes at once.

        A server that has gone already may have answered before: reading will tell.
        """
        with contextlib.suppress(ConnectionError, BlockingIOError):
            self._socket.send(data)

    def end(self) -> None:
        """Say that nothing more is sent (FIN).  A peer that is gone already is no matter."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at once: nothing is left to be sent, and nobody waits for the other side."""
        self._socket.close()
