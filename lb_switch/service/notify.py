"""Tell the service manager how far we are (sd_notify(3)): one datagram, no library."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

READY = "READY=1"
STOPPING = "STOPPING=1"


@contextlib.contextmanager
def reload_announced() -> Iterator[None]:
    """Say that a reload begins, and afterwards that we are ready again, whatever came of it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        yield
    finally:
        notify(READY)


def notify(state: str) -> None:
    """Send a state to the socket in $NOTIFY_SOCKET; without one nobody waits for it.

    A manager that does not listen is no reason to stop, and is never waited for.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the abstract name space of unix(7)
        address = f"\0{address[1:]}"
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager,
    ):
        manager.sendto(state.encode(), address)
