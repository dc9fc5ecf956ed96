"""`traffic` at work on a client, and what has become of its requests so far."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from netns_lab.lab import Lab
from netns_lab.scenarios.following import Follower
from netns_lab.scenarios.request import Request, from_line


class Traffic:
    """Requests from a client of the lab while the block runs; complete once it has ended."""

    def __init__(
        self,
        lab: Lab,
        client: str,
        url: str,
        *,
        rate: float | None = None,
        users: int | None = None,
    ) -> None:
        how = ["--users", str(users)] if rate is None else ["--rate", str(rate)]
        argv = [sys.executable, "-m", "netns_lab.scenarios.traffic", url, *how]
        self.requests: list[Request] = []
        """In the order in which they ended."""
        self._program = Follower(
            lab, client, argv, lambda line, _: self.requests.append(from_line(line))
        )

    def __enter__(self) -> Self:
        self._program.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._program.__exit__(kind, error, traceback)
