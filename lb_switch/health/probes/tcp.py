"""Does the service port accept?  SYN, SYN/ACK, ACK, then FIN."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from lb_switch.health.check import Target


async def probe(target: Target) -> str:
    """Connect and close in order.  Raises OSError."""
    family = socket.AF_INET6 if target.ip.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connecting:
        connecting.setblocking(False)
        address = (str(target.ip), target.port)
        await asyncio.get_running_loop().sock_connect(connecting, address)
        # The FIN goes out before a greeting can come in, which close() alone, with bytes unread,
        # would answer with a RST.  A peer that is gone already has passed all the same.
        with contextlib.suppress(OSError):
            connecting.shutdown(socket.SHUT_WR)
    return "connected"
