"""Runs the web process: a socket, a token, and uvicorn until Ctrl-C."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

import uvicorn

from lb_switch.web.app import application
from lb_switch.web.feed import Connect, Feed
from lb_switch.web.lab import Lab

HTTP_PORT = 80
BROWSERS = 32
"""Requests at the same time, each open page has one."""


class Place(NamedTuple):
    """Where the page is served: an IP address and a port (0: any that is free)."""

    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def text(self) -> str:
        """As it stands in an address and in a Host header."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read ADDRESS:PORT, [ADDRESS]:PORT or PORT.  Raises ValueError."""
        host, colon, port = text.rpartition(":")
        address = ipaddress.ip_address(host.strip("[]") if colon else "127.0.0.1")
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise ValueError(f"{port!r} is no port")
        return cls(str(address), int(port))


def listen(place: Place) -> tuple[socket.socket, Place]:
    """Return a listening socket, and where it is.  Raises OSError."""
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    listener = socket.create_server(place, family=family)
    return listener, Place(place.address, listener.getsockname()[1])


def serve(
    listener: socket.socket,
    place: Place,
    connect: Connect,
    *,
    names: Sequence[str] = (),
    read_only: bool,
    lab: Lab | None = None,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until a signal ends it.

    `names`: further names by which the machine may be called.  `lab`: the one that the page may act
    on.  `on_ready` is told the address, with its token.
    """
    token = secrets.token_urlsafe(24)
    hosts = {place.text, *(f"{name}:{place.port}" for name in names)}
    if place.is_loopback:
        hosts.add(f"localhost:{place.port}")
    if place.port == HTTP_PORT:  # which browsers leave out
        hosts |= {host.rpartition(":")[0] for host in hosts}
    feed = Feed(connect)
    app = application(feed, connect, hosts, place.port, token, read_only=read_only, lab=lab)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        limit_concurrency=BROWSERS,
        timeout_graceful_shutdown=1,
    )
    feed.start()
    on_ready(f"http://{place.text}/?token={token}")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        feed.stop()
