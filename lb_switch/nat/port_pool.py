"""Source ports for full NAT: one pool for each pair of source address and real server.

The reply key of a full-NAT connection is real server -> (source address, port): the port is what
tells the connections of one real server apart, so the same port serves again for another one.
"""

from __future__ import annotations

from collections import deque

FIRST_PORT = 1024
LAST_PORT = 65535


class PortPool:
    """Ports FIRST_PORT to LAST_PORT, each given out at most once at a time.

    A port that comes back waits behind all others, so that late packets of the old connection
    meet the new one as seldom as can be.
    """

    __slots__ = ("__weakref__", "_first", "_free", "_last", "_next")

    def __init__(self, first: int = FIRST_PORT, last: int = LAST_PORT) -> None:
        self._first = self._next = first
        self._last = last
        self._free: deque[int] = deque()

    @property
    def in_use(self) -> int:
        """How many ports are given out."""
        return self._next - self._first - len(self._free)

    def allocate(self) -> int | None:
        """Return a port that nobody has, or None when all are in use."""
        if self._next <= self._last:
            self._next += 1
            return self._next - 1
        return self._free.popleft() if self._free else None

    def release(self, port: int) -> None:
        """Take back a port given out by `allocate`."""
        self._free.append(port)
