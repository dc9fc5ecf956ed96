"""`traffic` at work on a client, and what has become of its requests so far."""

from __future__ import annotations

from netns_lab import programs
from netns_lab.lab import Lab
from netns_lab.request import Request, from_line
from netns_lab.scenarios.following import Follower


class Traffic(Follower):
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
        super().__init__(lab, client, programs.module("netns_lab.traffic", url, *how))
        self.requests: list[Request] = []
        """In the order in which they ended."""

    def note_line(self, line: str, /) -> None:
        """Take note of a request that has ended."""
        self.requests.append(from_line(line))
