"""Connections that ended before their ends were done: what their real servers still send.

A half-closed connection may be silent for longer than its entry lives, a real server repeats its
SYN/ACK to a client that gave way.  Such packets are in no connection any more, and passed on they
would show the client a real server's own address.  A packet of a client that talks to the real
server directly looks the same, and must pass: so the reply keys of what has ended are kept for a
while, a bounded number of them.  A SYN/ACK on the ports of an established one is the beginning of
such a talk.
"""

from __future__ import annotations

SECONDS = 900.0
"""A key is kept for this long, and for twice as long at the most."""
SECONDS_UNPROVED = 64.0
"""The same for UDP, and for clients that have not proved to be there: for so long a kernel repeats
a SYN/ACK (tcp_synack_retries)."""
MOST = 1 << 14
"""Keys before the older ones are forgotten; twice as many are kept at the most."""
MOST_UNPROVED = 1 << 10
"""The same for clients that have not proved to be there: a flood makes no more of them."""


class Ended:
    """Reply keys, in two generations: the young one becomes the old one when it is full or old.

    Each has `most` keys, and is young for so many seconds.
    """

    __slots__ = ("_most", "_old", "_seconds", "_until", "_young")

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._until = 0.0

    def note(self, key: bytes, now: float) -> None:
        """Keep the reply key of a connection that has ended."""
        self._grow_old(now)
        self._young.add(key)

    def has(self, key: bytes, now: float) -> bool:
        """Whether a connection with this reply key has ended lately."""
        self._grow_old(now)
        return key in self._young or key in self._old

    def forget(self, key: bytes) -> None:
        """Forget a key: its real server has begun something new there."""
        self._young.discard(key)
        self._old.discard(key)

    def _grow_old(self, now: float) -> None:
        if now >= self._until or len(self._young) >= self._most:
            self._old = self._young if now < self._until + self._seconds else set()
            self._young = set()
            self._until = now + self._seconds
