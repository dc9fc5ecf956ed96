"""From results of probes to up and down.  Pure: time comes in as a value.

A server starts as `unknown`, and its first result decides at once, either way: whoever starts a
switch beside a dead server does not wait `fall` intervals to learn it.  Until then it counts as
healthy, else a switch would begin by refusing everybody.  From then on it takes `rise` consecutive
passes to come up and `fall` consecutive failures to go down; a result of the other kind starts the
count anew.  A probe that could not be made at all (no permission, no descriptor left), or not be
judged in time by a prober that is late itself, says nothing about the server and leaves everything
as it is.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

TOO_BUSY = "cannot probe in time: this machine is too busy"
"""The finding of a probe whose answer may have been there, unread."""


class Health(enum.Enum):
    """What is known of a real server."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class ProbeResult(NamedTuple):
    """What one probe found.

    passed: None if it could not be made.  finding: one line for people ("status 200", "connect
    refused").  seconds: how long it took.
    """

    passed: bool | None
    finding: str
    seconds: float = 0.0


class Transition(NamedTuple):
    """A real server's health changed; `cause` is the finding that decided."""

    time: float
    before: Health
    after: Health
    cause: str


class Tracker:
    """Follows one real server.  `rise` and `fall` are at least 1; `now` is in seconds."""

    __slots__ = ("_fall", "_rise", "against", "cause", "health", "last", "last_time", "since")

    def __init__(self, rise: int, fall: int, now: float) -> None:
        self._rise = rise
        self._fall = fall
        self.health = Health.UNKNOWN
        self.since = now
        self.cause = ""
        """The finding of the last transition."""
        self.against = 0
        """Consecutive results that speak against the present health."""
        self.last: ProbeResult | None = None
        self.last_time = now

    @property
    def healthy(self) -> bool:
        """Whether it may serve."""
        return self.health is not Health.DOWN

    @property
    def needed(self) -> int:
        """How many consecutive results against the present health change it."""
        if self.health is Health.UNKNOWN:
            return 1
        return self._rise if self.health is Health.DOWN else self._fall

    def note(self, result: ProbeResult, now: float) -> Transition | None:
        """Count a result; return the transition if it is the one that decides."""
        self.last, self.last_time = result, now
        if result.passed is None:
            return None
        told = Health.UP if result.passed else Health.DOWN
        if told is self.health:
            self.against = 0
            return None
        self.against += 1
        if self.against < self.needed:
            return None
        transition = Transition(now, self.health, told, result.finding)
        self.health, self.since, self.cause, self.against = told, now, result.finding, 0
        return transition

    def count_anew(self, rise: int, fall: int) -> None:
        """Go on with other limits, from the health that is known."""
        self._rise, self._fall, self.against = rise, fall, 0
