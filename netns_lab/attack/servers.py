"""The real servers' program: TCP echo, UDP echo, and a port that swallows datagrams.

    python -m netns_lab.attack.servers tcp ADDRESS PORT
    python -m netns_lab.attack.servers udp ADDRESS PORT VOID

The lab's own server gives each connection a thread, and a flood would measure those.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

BACKLOG = 4096
_BUFFER = 4 << 20


class _Echo(asyncio.Protocol):
    """What comes in goes back (RFC 862)."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


async def _tcp(address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, address, port, backlog=BACKLOG)
    _ready()
    async with server:
        await server.serve_forever()


def _udp(address: str, port: int, void: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Nobody ever reads from the second one: the kernel drops what comes.
    with socket.socket(family, socket.SOCK_DGRAM) as echo, _bound(family, address, void):
        echo.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        echo.bind((address, port))
        _ready()
        buffer = bytearray(65_536)
        view = memoryview(buffer)
        while True:
            with contextlib.suppress(OSError):  # an answer that finds no way
                size, sender = echo.recvfrom_into(buffer)
                echo.sendto(view[:size], sender)


def _bound(family: int, address: str, port: int) -> socket.socket:
    void = socket.socket(family, socket.SOCK_DGRAM)
    void.bind((address, port))
    return void


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def main() -> None:
    """Serve for ever."""
    kind, address, *ports = sys.argv[1:]
    numbers = [int(port) for port in ports]
    if kind == "tcp":
        asyncio.run(_tcp(address, *numbers))
    else:
        _udp(address, *numbers)


if __name__ == "__main__":
    main()
