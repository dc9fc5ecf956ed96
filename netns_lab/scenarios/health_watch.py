"""Who went down or came up, and when: as the switch tells it (`lb-switch events`)."""

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


@dataclass
class Standing:
    """A real server's health, since when (seconds of the monotonic clock), and why."""

    state: str
    since: float
    cause: str


class Standings:
    """The health of all real servers, from the lines of `lb-switch events servers probes`.  Pure.

    Times are the switch's: its clock is the machine's monotonic one, as ours is.  A server that is
    taken as healthy is `unknown` until a probe has said so.
    """

    def __init__(self) -> None:
        self._standings: dict[tuple[str, str], Standing] = {}

    def note(self, line: dict[str, Any]) -> None:
        """Take note of one line."""
        kind = line.get("event")
        if kind is None:
            for group in line["virtual_servers"]:
                for server in group["real_servers"]:
                    state = "unknown" if server["healthy"] else "down"
                    self._put(group["name"], server["address"], state, line["time"], "")
        elif kind == "server" and line["changed"] == "health":
            server = line["real_server"]
            state = "up" if server["healthy"] else "down"
            cause = line["finding"]
            self._put(line["virtual_server"], server["address"], state, line["time"], cause)
        elif kind == "probe" and line["passed"]:
            known = self.get(line["virtual_server"], line["real_server"])
            if known is None or known.state == "unknown":
                where = line["virtual_server"], line["real_server"]
                self._put(*where, "up", line["time"], line["finding"])

    def _put(self, group: str, address: str, state: str, since: float, cause: str) -> None:
        self._standings[group, address] = Standing(state, since, cause)

    def get(self, virtual_server: str, address: str) -> Standing | None:
        """Return what is known of a real server."""
        return self._standings.get((virtual_server, address))

    def all(self) -> list[Standing]:
        """Return what is known of all."""
        return list(self._standings.values())


class HealthWatch(Follower):
    """Follows the switch's health checks while the block runs."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, SWITCH, [*lb_switch(), "events", "servers", "probes"])
        self._standings = Standings()
        self._news = threading.Condition()

    def note_line(self, line: str, /) -> None:
        """Take note of a line."""
        with self._news:
            self._standings.note(json.loads(line))
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
