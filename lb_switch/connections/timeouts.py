"""Deadlines of many connections without looking at many: a timer wheel with lazy deadlines.

A packet only notes *when* it came (`Connection.last_seen`): no timer moves, so a packet costs the
wheel nothing.  Each connection lies in one bucket, to be looked at when the bucket comes due;
then its real deadline, last_seen plus the timeout of its state, is computed, and it either ends or
moves to a later bucket.  A deadline that comes *nearer* (a state with a shorter timeout) puts the
connection into an earlier bucket at once; the entry left behind is recognised by not being the
bucket that the connection names.  (The scheme is that of Varghese and Lauck, SOSP 1987, with
the moving of timers put off as long as possible.)

No bucket lies more than HORIZON ahead: a connection of a long timeout is looked at a few times
in between, and what is left behind in a bucket is never held for longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from lb_switch.connections.connection import Connection
from lb_switch.connections.tcp_state import State

GRANULARITY = 0.5
"""Seconds a bucket covers: a connection ends up to this much after its deadline."""
HORIZON = 128
"""Buckets ahead, at most."""


class Bucket:
    """Connections to be looked at when `due` has come."""

    __slots__ = ("connections", "due")

    def __init__(self, due: float) -> None:
        self.due = due
        self.connections: list[Connection] = []


class TimerWheel:
    """Say which connections have reached their deadline, in slices of bounded work.

    `timeouts` are seconds by state.
    """

    def __init__(self, timeouts: dict[State, float]) -> None:
        self.change_timeouts(timeouts)
        self._buckets: dict[int, Bucket] = {}
        self._next_tick: int | None = None

    def change_timeouts(self, timeouts: dict[State, float]) -> None:
        """Take other timeouts; each connection learns of them when its bucket comes due."""
        self.timeouts = [timeouts[state] for state in State]

    def deadline(self, connection: Connection) -> float:
        """When the connection ends if no packet comes."""
        return connection.last_seen + self.timeouts[connection.state]

    def arm(self, connection: Connection, now: float) -> None:
        """See to it that the connection is looked at no later than its deadline requires.

        Call it for a new connection and after each change of state.
        """
        deadline = self.deadline(connection)
        bucket = connection.bucket
        if bucket is None or deadline + GRANULARITY <= bucket.due:
            self._put(connection, deadline, now)

    def disarm(self, connection: Connection) -> None:
        """Forget the connection (its place in the bucket is skipped later)."""
        connection.bucket = None

    def _put(self, connection: Connection, deadline: float, now: float) -> None:
        tick = min(math.ceil(deadline / GRANULARITY), int(now / GRANULARITY) + HORIZON)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = Bucket(tick * GRANULARITY)
            if self._next_tick is None or tick < self._next_tick:
                self._next_tick = tick
        bucket.connections.append(connection)
        connection.bucket = bucket

    def next_deadline(self) -> float | None:
        """When `expired` should be called next; None while no connection is armed."""
        return None if self._next_tick is None else self._next_tick * GRANULARITY

    def expired(self, now: float, limit: int) -> Iterator[Connection]:
        """Yield connections whose deadline has passed, after looking at `limit` at the most.

        The caller removes each from its table.  Work that is left over stays due.
        """
        looked_at = 0
        while self._next_tick is not None and self._next_tick * GRANULARITY <= now:
            tick = self._next_tick
            bucket = self._buckets[tick]
            while bucket.connections:
                if looked_at >= limit:
                    return
                looked_at += 1
                connection = bucket.connections.pop()
                if connection.bucket is not bucket:
                    continue
                deadline = self.deadline(connection)
                if deadline <= now:
                    connection.bucket = None
                    yield connection
                else:
                    self._put(connection, deadline, now)
            del self._buckets[tick]
            self._next_tick = min(self._buckets, default=None)
