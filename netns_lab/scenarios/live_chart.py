"""Traffic as it happens: a line for each slice of time, its bar made of who answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from netns_lab.request import answered_by, ended_within, failures
from netns_lab.scenarios.chart import slice_heading, slice_line
from netns_lab.scenarios.narration import Narrator
from netns_lab.scenarios.running_traffic import Traffic

_PAUSE = 0.02
_LATE = 0.05
"""Seconds that the line of a request may take to reach us."""


class LiveChart:
    """Prints slices of `seconds` each, from the moment it is made."""

    def __init__(
        self,
        narrator: Narrator,
        traffic: Traffic,
        servers: Sequence[str],
        *,
        seconds: float = 0.5,
        per_character: int = 2,
    ) -> None:
        self._narrator = narrator
        self._traffic = traffic
        self._servers = servers
        self._seconds = seconds
        self._per_character = per_character
        self._slices = 0
        self._after_words = False
        self.started = time.monotonic()
        narrator.block([slice_heading(servers, per_character)])

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], bool], patience: float) -> bool:
        """Go on until something is the case; False if it was not within `patience` seconds."""
        deadline = time.monotonic() + patience
        while not (happened := condition()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            self._catch_up()
        return happened

    def note(self, text: str) -> None:
        """Put a word between the slices, where it belongs."""
        moment = time.monotonic() - self.started
        self._catch_up()
        self._print(f"{moment:>5.1f}s {self._narrator.marked(f'--- {text}')}")

    def give_way(self) -> None:
        """Let others say something in between."""
        self._catch_up()
        self._after_words = True

    def _catch_up(self) -> None:
        while time.monotonic() > self._end(self._slices + 1) + _LATE:
            self._print_slice()

    def _end(self, slices: int) -> float:
        return self.started + slices * self._seconds

    def _print_slice(self) -> None:
        within = ended_within(
            list(self._traffic.requests), self._end(self._slices), self._end(self._slices + 1)
        )
        self._slices += 1
        line = slice_line(
            self._slices * self._seconds,
            answered_by(within),
            len(failures(within)),
            self._servers,
            self._per_character,
        )
        self._print(line)

    def _print(self, line: str) -> None:
        self._narrator.block([line], output=not self._after_words)
        self._after_words = False
