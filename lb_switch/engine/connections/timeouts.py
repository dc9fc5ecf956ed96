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

from lb_switch.engine.chain import Chain, take_out
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import State

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

    `timeouts` are seconds by state.  `length` says how many connections it has, `next_tick` when
    the first bucket comes due (`time_of`; None without one).
    """

    def __init__(self, timeouts: dict[State, float]) -> None:
        self.change_timeouts(timeouts)
        self.length = 0
        self.next_tick: int | None = None
        self._buckets: dict[int, Bucket] = {}

    @staticmethod
    def time_of(tick: int) -> float:
        """When a bucket comes due."""
        return tick * GRANULARITY

    def change_timeouts(self, timeouts: dict[State, float]) -> None:
        """Take other timeouts; each connection learns of them when its bucket comes due."""
        self.timeouts = [timeouts[state] for state in State]

    def deadline(self, connection: Connection) -> float:
        """When the connection ends if no packet comes."""
        return connection.last_seen + self.timeouts[connection.state]

    def arm(self, connection: Connection, now: float) -> None:
        """See to it that a new connection is looked at no later than its deadline."""
        deadline = connection.last_seen + self.timeouts[connection.state]
        tick = min(math.ceil(deadline / GRANULARITY), int(now / GRANULARITY) + HORIZON)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = Bucket(tick * GRANULARITY)
            if self.next_tick is None or tick < self.next_tick:
                self.next_tick = tick
        bucket.append(connection)
        self.length += 1

    def rearm(self, connection: Connection, old: State, now: float) -> None:
        """See to it after a change of state from `old`: a longer timeout can wait its turn.

        So can one beyond the horizon: the connection lies in a bucket before that already.
        """
        timeout = self.timeouts[connection.state]
        if timeout < _HORIZON_SECONDS and timeout < self.timeouts[old]:
            self.disarm(connection)
            self.arm(connection, now)

    def disarm(self, connection: Connection) -> None:
        """Forget the connection, if it is here."""
        if connection.before is not None:
            take_out(connection)
            self.length -= 1

    def next_deadline(self) -> float | None:
        """When `due` should be called next; None while no connection is armed."""
        return None if self.next_tick is None else self.time_of(self.next_tick)

    def due(self, now: float, limit: int) -> Iterator[Connection]:
        """Yield, and disarm, connections whose bucket has come due: `limit` at the most.

        The caller arms each again, or finds that its deadline has passed.  Work that is left over
        stays due.
        """
        for _ in range(limit):
            connection = self.first
            if connection is None or self.next_tick is None or self.time_of(self.next_tick) > now:
                return
            self.disarm(connection)
            yield connection

    # -- the first, before its time --------------------------------------------------------

    @property
    def first(self) -> Connection | None:
        """The connection whose turn comes next: of equal timeouts the one looked at longest ago."""
        while self.next_tick is not None:
            connection = self._buckets[self.next_tick].first
            if connection is not None:
                return connection
            self._drop_first_bucket()
        return None

    @property
    def first_was_used(self) -> bool:
        """Whether a packet of the first one came after it was looked at (or armed) last.

        Only what came more than GRANULARITY later can be told.
        """
        connection = self.first
        if connection is None or self.next_tick is None:
            return False
        ahead = min(self.timeouts[connection.state], _HORIZON_SECONDS)
        return connection.last_seen + ahead > self.time_of(self.next_tick + 1)

    def _drop_first_bucket(self) -> None:
        """Drop the first bucket, which is empty."""
        assert self.next_tick is not None
        self._buckets.pop(self.next_tick).dissolve()
        self.next_tick = min(self._buckets, default=None)
