"""Who went down or came up, and when: `lb-switch show health --watch`, followed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.programs import lb_switch
from netns_lab.scenarios.following import Follower
from netns_lab.topologies import SWITCH

EVERY = 0.1
"""Seconds between two looks."""


@dataclass
class Standing:
    """A real server's health, since when (seconds of the monotonic clock), and why."""

    state: str
    since: float
    cause: str


class Standings:
    """The health of all real servers, from documents of `show health --json`.  Pure.

    A document says for how long a state has lasted, and comes a moment after it was made.  So each
    look gives an upper bound of when it began, and the least of them is the nearest to the truth.
    """

    def __init__(self) -> None:
        self._standings: dict[tuple[str, str], Standing] = {}

    def take(self, document: dict[str, Any], arrival: float) -> None:
        """Take note of one document."""
        for row in document["real_servers"]:
            key = row["virtual_server"], row["address"]
            began = arrival - (row["seconds"] or 0.0)
            known = self._standings.get(key)
            if known is not None and known.state == row["state"]:
                known.since = min(known.since, began)
            else:
                self._standings[key] = Standing(row["state"], began, row["cause"] or "")

    def get(self, virtual_server: str, address: str) -> Standing | None:
        """Return what is known of a real server."""
        return self._standings.get((virtual_server, address))

    def all(self) -> list[Standing]:
        """Return what is known of all."""
        return list(self._standings.values())


class HealthWatch(Follower):
    """Follows the switch's health checks while the block runs."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(
            lab, SWITCH, [*lb_switch(), "show", "health", "--json", "--watch", str(EVERY)]
        )
        self._standings = Standings()
        self._news = threading.Condition()

    def take(self, line: str, arrival: float, /) -> None:
        """Take note of a document."""
        if line.strip():  # one document a line, an empty line between two
            with self._news:
                self._standings.take(json.loads(line), arrival)
                self._news.notify_all()

    def standing(self, virtual_server: str, address: str) -> Standing | None:
        """Return what is known of a real server now."""
        with self._news:
            return self._standings.get(virtual_server, address)

    def is_in(self, state: str, virtual_server: str, address: str) -> bool:
        """Whether a real server is `up`, `down` or `unknown` now."""
        standing = self.standing(virtual_server, address)
        return standing is not None and standing.state == state

    def await_all_up(self, patience: float = 10.0) -> None:
        """Wait until every real server is up.  Raises LabError."""

        def all_up() -> bool:
            standings = self._standings.all()
            return bool(standings) and all(each.state == "up" for each in standings)

        self._await(all_up, patience, "not all real servers are up")

    def _await(self, condition: Callable[[], bool], patience: float, complaint: str) -> None:
        with self._news:
            if not self._news.wait_for(condition, patience):
                raise LabError(f"{complaint} after {patience:g} seconds")
