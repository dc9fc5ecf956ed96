"""Rounds of contestants of measures: each in a fresh lab, interleaved, with progress."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netns_lab.bench import arena as _arena
from netns_lab.bench import processor, readings, results
from netns_lab.bench.arena import Arena
from netns_lab.bench.contestants import CONTESTANTS, Contestant
from netns_lab.bench.measures import FIGURES, MEASURES, Measure, needed_programs
from netns_lab.bench.results import Run
from netns_lab.errors import LabError

ROUNDS = 5
SECONDS = 4
WARM_UP_SECONDS = 1
BUSY = 0.10
"""Share of the machine's time that others may take before a warning is due."""
_LOOK = 0.5
"""Seconds of doing nothing in which that share is measured."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be run.  seconds: of each measure."""

    contestants: tuple[Contestant, ...]
    measures: tuple[Measure, ...]
    rounds: int
    seconds: int

    def order(self, number: int) -> tuple[Contestant, ...]:
        """Who runs in which turn in round `number` (from 1): everybody is first once.

        So a machine that grows slower (or busier) does so for everyone.
        """
        first = (number - 1) % len(self.contestants)
        return self.contestants[first:] + self.contestants[:first]

    def measures_of(self, contestant: Contestant) -> tuple[Measure, ...]:
        """What this contestant can take part in."""
        return tuple(each for each in self.measures if contestant.udp or each.program != "udp")

    @property
    def total(self) -> int:
        """How many runs of a measure it is."""
        return self.rounds * sum(len(self.measures_of(each)) for each in self.contestants)


def plan(
    only: Sequence[str] = (),
    measures: Sequence[str] = (),
    rounds: int = ROUNDS,
    seconds: int = SECONDS,
) -> Plan:
    """A plan of the contestants and measures of these names; none given: all.

    Raises LookupError for a name that does not exist.
    """
    for name in only:
        if name not in CONTESTANTS:
            raise LookupError(f"no contestant {name!r}: {', '.join(CONTESTANTS)}")
    for name in measures:
        if name not in MEASURES:
            raise LookupError(f"no measure {name!r}: {', '.join(MEASURES)}")
    return Plan(
        tuple(each for each in CONTESTANTS.values() if not only or each.name in only),
        tuple(each for each in MEASURES.values() if not measures or each.name in measures),
        rounds,
        seconds,
    )


def run(todo: Plan, say: Say) -> Iterator[list[Run]]:
    """Run it; yield all runs so far after each round.

    A contestant that fails is reported and the others go on.  Raises LabError before the first
    round if the machine lacks a program.
    """
    needed = needed_programs(todo.measures)
    _arena.require(needed.union(*(each.needs for each in todo.contestants)))
    progress = _Progress(todo, say)
    runs: list[Run] = []
    for number in range(1, todo.rounds + 1):
        for contestant in todo.order(number):
            _warn_if_busy(say)
            try:
                with Arena(contestant) as arena:
                    _warm_up(arena)
                    for measure in todo.measures_of(contestant):
                        done = _measure(arena, measure, number, todo.seconds)
                        runs.append(done)
                        progress.note(done)
            except LabError as error:
                failed = Run(number, contestant.name, "start", error=str(error))
                runs.append(failed)
                progress.skip(contestant, failed)
        yield runs


def _warm_up(arena: Arena) -> None:
    """Send a second of requests: neighbours are found, caches are filled, and it does serve."""
    measure = MEASURES["requests"]
    output, _ = arena.run(measure, WARM_UP_SECONDS)
    try:
        readings.read(measure, output, None)
    except readings.ReadingError as error:
        raise LabError(f"it does not serve: {error}") from None


def _measure(arena: Arena, measure: Measure, number: int, seconds: int) -> Run:
    contestant = arena.contestant.name
    before = processor.machine_time()
    try:
        output, cpu = arena.run(measure, seconds)
        reading = readings.read(measure, output, cpu)
    except (LabError, readings.ReadingError) as error:
        return Run(number, contestant, measure.name, error=str(error))
    steal = processor.machine_time().since(before).steal
    return Run(
        number, contestant, measure.name, reading.figures, reading.troubles, steal=round(steal, 2)
    )


def _warn_if_busy(say: Say) -> None:
    share = processor.busy_share(_LOOK)
    if share > BUSY:
        say(f"the machine is busy with something else ({share:.0%}): do not trust these figures")


class _Progress:
    """One line for each run that is over, with the time that is left."""

    def __init__(self, todo: Plan, say: Say) -> None:
        self._todo = todo
        self._say = say
        self._done = 0
        self._start = time.monotonic()

    def note(self, done: Run) -> None:
        self._done += 1
        texts = [
            f"{results.shown(FIGURES[name], value)} {FIGURES[name].unit}"
            for name, value in done.figures.items()
        ]
        self._tell(done, done.error or ", ".join(texts))

    def skip(self, contestant: Contestant, failed: Run) -> None:
        # What it had finished before is counted already.
        before = (failed.round - 1) * sum(
            len(self._todo.measures_of(each)) for each in self._todo.contestants
        )
        order = self._todo.order(failed.round)
        within = order[: order.index(contestant) + 1]
        self._done = before + sum(len(self._todo.measures_of(each)) for each in within)
        self._tell(failed, failed.error)

    def _tell(self, done: Run, text: str) -> None:
        passed = time.monotonic() - self._start
        left = passed / max(self._done, 1) * (self._todo.total - self._done)
        doubt = " (!)" if done.troubles else ""
        self._say(
            f"[{self._done}/{self._todo.total}] round {done.round}/{self._todo.rounds}"
            f" {done.contestant:<12} {done.measure:<11} {text}{doubt}, {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def environment(programs: Sequence[str] = ("haproxy", "nginx", "iperf3", "wrk")) -> dict[str, Any]:
    """What the figures depend on: machine, kernel, versions."""
    return {
        "kernel": platform.release(),
        "machine": _processor_name(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {name: _version(name) for name in programs},
    }


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(program: str) -> str:
    """The first line of what it says about its version; empty: it is not there."""
    try:
        said = subprocess.run(
            [program, "-v"], capture_output=True, text=True, check=False, timeout=10
        )
    except OSError:
        return ""
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[0] if lines else ""
