"""What became of requests: the values that `traffic` prints, and how to count them.  Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Request(NamedTuple):
    """One request.  Times are seconds of the monotonic clock, which all processes share.

    server: who answered; error: why nobody did.  One of them is None.
    """

    started: float
    ended: float
    server: str | None
    error: str | None

    @property
    def failed(self) -> bool:
        """Whether the client did not get its answer."""
        return self.error is not None


def to_line(request: Request) -> str:
    """Return a request as one line of JSON."""
    return json.dumps(request)


def from_line(line: str) -> Request:
    """Read what `to_line` wrote.  Raises ValueError or TypeError."""
    return Request(*json.loads(line))


def answered_by(requests: Iterable[Request]) -> Counter[str]:
    """Count answers by server."""
    return Counter(each.server for each in requests if each.server is not None)


def failures(requests: Iterable[Request]) -> list[Request]:
    """Return those that failed."""
    return [each for each in requests if each.failed]


def started_within(requests: Iterable[Request], begin: float, end: float) -> list[Request]:
    """Return those that started in [begin, end)."""
    return [each for each in requests if begin <= each.started < end]


def ended_within(requests: Iterable[Request], begin: float, end: float) -> list[Request]:
    """Return those that ended in [begin, end)."""
    return [each for each in requests if begin <= each.ended < end]


def mean_seconds(requests: Iterable[Request]) -> float:
    """Return how long an answer took on average; 0 without answers."""
    times = [each.ended - each.started for each in requests if not each.failed]
    return sum(times) / len(times) if times else 0.0
