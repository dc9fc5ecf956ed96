"""What a running switch says of health, with the moments of its transitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lb_switch.control.client import ControlClient

PATIENCE = 30.0
PAUSE = 0.02


@dataclass(frozen=True)
class Seen:
    """One real server.  `since`: when it came into this state at the latest, on CLOCK_MONOTONIC."""

    state: str
    since: float
    finding: str
    cause: str | None


class View:
    """Asks the switch behind a control socket."""

    def __init__(self, control_socket: Path) -> None:
        self._path = control_socket

    def health(self) -> Mapping[str, Seen]:
        """Return all real servers, by `name address`."""
        with ControlClient(self._path) as switch:
            rows = list(switch.rows("show", what="health"))
        now = time.monotonic()
        return {f"{row['virtual_server']} {row['address']}": _seen(row, now) for row in rows}

    def result_times(self) -> dict[str, float]:
        """Return when each check's last result came, on CLOCK_MONOTONIC."""
        with ControlClient(self._path) as switch:
            rows = list(switch.rows("show", what="health"))
        now = time.monotonic()
        return {
            f"{row['virtual_server']} {row['address']}": now - row["last"]["age"]
            for row in rows
            if row["last"]
        }

    def until(self, condition: Callable[[Mapping[str, Seen]], Any]) -> Mapping[str, Seen]:
        """Wait until the condition holds; return what was seen then."""
        return next(seen for seen in self._looks() if condition(seen))

    def probes(self) -> dict[str, Any]:
        """Return how the probe process does."""
        with ControlClient(self._path) as switch:
            probes: dict[str, Any] = switch.ask("show", what="probes")
        return probes

    def stats(self) -> dict[str, Any]:
        """Return the counters."""
        with ControlClient(self._path) as switch:
            stats: dict[str, Any] = switch.ask("show", what="stats")
        return stats

    def connections_so_far(self) -> int:
        """Return how many connections real servers were given."""
        with ControlClient(self._path) as switch:
            rows = list(switch.rows("show", what="virtual_servers"))
        return sum(server["connections"] for row in rows for server in row["real_servers"])

    def _looks(self) -> Iterator[Mapping[str, Seen]]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            yield (seen := self.health())
            time.sleep(PAUSE)
        raise AssertionError(f"it did not come true in {PATIENCE} s: {seen}")


def all_in(state: str) -> Callable[[Mapping[str, Seen]], bool]:
    """Whether every real server is in this state."""
    return lambda seen: {each.state for each in seen.values()} == {state}


def _seen(row: Mapping[str, Any], now: float) -> Seen:
    last = row["last"] or {"finding": ""}
    return Seen(row["state"], now - row["seconds"], last["finding"], row["cause"])
