"""How many answers of its own the switch sends: a token bucket for each kind.

Who forges source addresses makes the switch answer machines that never asked.  ICMP errors must be
limited for that (RFC 4443, section 2.4 (f); RFC 1812, section 4.3.2.8), and a bucket for all of
them is what both name first: one for each destination would be a table for forgers to fill.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

BURST = 50
"""Answers of a kind that may leave at once, as with Linux (`icmp_msgs_burst`)."""


class Answer(enum.Enum):
    """The kinds of answers."""

    ICMP_ERROR = "icmp_errors"
    RESET = "resets"
    ECHO_REPLY = "echo_replies"


class AnswersPerSecond(NamedTuple):
    """Answers a second in the long run, by kind; 0: no limit.

    Errors have the limit that Linux has for all its ICMP errors together (`icmp_msgs_per_sec`).
    Like there, a RST or an echo reply has none unless somebody wants it: it is no larger than what
    asked for it, and an honest client that gets no RST waits for minutes.
    """

    icmp_errors: float = 1000
    resets: float = 0
    echo_replies: float = 0


class TokenBucket:
    """Lets `rate` takers a second through, and BURST at once after a silence."""

    __slots__ = ("_level", "_rate", "_then")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._level = float(BURST)
        self._then = float("-inf")

    def spend(self, now: float) -> bool:
        """Take a token; False if there is none.  `now` is in seconds and never goes back."""
        self._level = min(BURST, self._level + (now - self._then) * self._rate)
        self._then = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class AnswerLimit:
    """One bucket for each kind of answer that has a limit."""

    def __init__(self, rates: AnswersPerSecond) -> None:
        self._rates = AnswersPerSecond(0, 0, 0)
        self._buckets: dict[Answer, TokenBucket] = {}
        self.change(rates)

    def change(self, rates: AnswersPerSecond) -> None:
        """Take other rates; the bucket of a kind whose rate changes is full again."""
        for kind in Answer:
            rate = getattr(rates, kind.value)
            if rate != getattr(self._rates, kind.value):
                self._buckets.pop(kind, None)
                if rate:
                    self._buckets[kind] = TokenBucket(rate)
        self._rates = rates

    def allows(self, kind: Answer, now: float) -> bool:
        """Whether an answer of this kind may leave now; it counts as sent."""
        bucket = self._buckets.get(kind)
        return bucket is None or bucket.spend(now)
