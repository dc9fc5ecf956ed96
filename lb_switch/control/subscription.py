"""A client that reads the stream: first everything that is, then everything that happens.

The lines are those of a recording (`lb_switch.stream.schema`): a header, a line for each connection
in the table, `complete`, and then the events.  Events that come while the table is still being told
stand among it; that changes nothing for a reader, who takes the latest word of a connection.

What waits for a reader is bounded.  A reader that is too slow loses the newest lines, and is told
how many in the place where they are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.listeners import Interest
from lb_switch.stream import encode
from lb_switch.stream.hub import Hub

BOUND = 1 << 20
"""Bytes that wait for one reader, at the most."""
CHUNK = 1 << 16
"""Bytes that are handed to the kernel in one go."""
ROWS = 64
"""Connections of the table that are told in one go: half a millisecond of work."""


class Subscription:
    """One reader of `hub`, of `most` packets a second at the most (0: all).

    `wake` is called when something waits for him that did not before.
    """

    def __init__(
        self,
        hub: Hub,
        interest: Interest,
        connections: Iterator[Connection],
        now: float,
        most: int = 0,
    ) -> None:
        self._hub = hub
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._untold = 0
        self.dropped = 0
        """Lines that he has lost in all."""
        self.wake: Callable[[], None] = _nothing
        self._table: Iterator[Connection] | None = connections if interest.connections else iter(())
        self._count = 0
        self._put(hub.header(interest.keep, now))
        hub.add(self, interest, most)

    def put(self, line: bytes) -> None:
        """Let a line wait, or count it as lost."""
        if self._size + len(line) > BOUND:
            self.drop()
            return
        if self._untold:
            self._put(encode.dropped(self._untold))
            self._untold = 0
        self._put(line)

    def drop(self) -> None:
        """Count a line that he does not get."""
        self.dropped += 1
        self._untold += 1

    def flush(self) -> None:
        """Nothing to do: the control socket's own loop sends what waits."""

    def _put(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)
        if len(self._waiting) == 1:
            self.wake()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and self._table is None and not self._untold

    def next_lines(self, now: float) -> bytes:
        """Return what is to be sent next; empty if nothing is."""
        if not self._waiting:
            self._tell_table(now)
        if not self._waiting and self._untold:
            self._put(encode.dropped(self._untold))
            self._untold = 0
        lines, size = [], 0
        while self._waiting and size < CHUNK:
            line = self._waiting.popleft()
            lines.append(line)
            size += len(line)
        self._size -= size
        return b"".join(lines)

    def _tell_table(self, now: float) -> None:
        if self._table is None:
            return
        for _ in range(ROWS):
            connection = next(self._table, None)
            if connection is None:
                self._table = None
                self._put(encode.complete(now, self._count))
                return
            if not connection.is_over:
                self._count += 1
                self._put(self._hub.present(connection, now))

    def close(self) -> None:
        """Read no more."""
        self._hub.remove(self)
        self._waiting.clear()
        self._table = None


def _nothing() -> None:
    """Nobody waits to be woken yet."""
