"""Deadlines of many connections without looking at many: a timer wheel with lazy deadlines.

A packet only notes *when* it came (`Connection.last_seen`): no timer moves, so a packet costs the
wheel nothing.  Each connection lies in one bucket, to be looked at when the bucket comes due;
then its real deadline, last_seen plus the timeout of its state, is computed, and it either ends or
moves to a later bucket.  A deadline that comes *nearer* (a state with a shorter timeout) moves the
connection to an earlier bucket at once.  (The scheme is that of Varghese and Lauck, SOSP 1987,
with the moving of timers put off as long as possible.)

A connection that ends before its time is taken out of its bucket at once: in a flood of SYNs that
evict one another, what is merely left behind until the bucket comes due would fill the memory.

No bucket lies more than HORIZON ahead: a connection of a long timeout is looked at a few times
in between, and so learns of another timeout soon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from lb_switch.connections.chain import Chain, take_out
from lb_switch.connections.connection import Connection
from lb_switch.connections.tcp_state import State

GRANULARITY = 0.5
"""Seconds a bucket covers: a connection ends up to this much after its deadline."""
HORIZON = 128
"""Buckets ahead, at most."""
_HORIZON_SECONDS = HORIZON * GRANULARITY


class Bucket(Chain[Connection]):
    """Connections to be looked at when `due` has come."""

    __slots__ = ("due",)

    def __init__(self, due: float) -> None:
        super().__init__()
        self.due = due


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
        """See to it that a new connection is looked at no later than its deadline."""
        self._put(connection, self.deadline(connection), now)

    def rearm(self, connection: Connection, old: State, now: float) -> None:
        """See to it after a change of state from `old`: a longer timeout can wait its turn.

        So can one beyond the horizon: the connection lies in a bucket before that already.
        """
        timeout = self.timeouts[connection.state]
        if timeout < _HORIZON_SECONDS and timeout < self.timeouts[old]:
            self.disarm(connection)
            self.arm(connection, now)

    def disarm(self, connection: Connection) -> None:
        """Forget the connection."""
        if connection.before is not None:
            take_out(connection)

    def _put(self, connection: Connection, deadline: float, now: float) -> None:
        tick = min(math.ceil(deadline / GRANULARITY), int(now / GRANULARITY) + HORIZON)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = Bucket(tick * GRANULARITY)
            if self._next_tick is None or tick < self._next_tick:
                self._next_tick = tick
        bucket.append(connection)

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
            while (connection := bucket.first) is not None:
                if looked_at >= limit:
                    return
                looked_at += 1
                take_out(connection)
                deadline = self.deadline(connection)
                if deadline <= now:
                    yield connection
                else:
                    self._put(connection, deadline, now)
            self._buckets.pop(tick).dissolve()
            self._next_tick = min(self._buckets, default=None)
