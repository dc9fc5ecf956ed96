"""When to probe: every check in a task of its own, so that none waits for another.

An interval is from start to start, whatever a probe takes; where the timeout is longer than the
interval, several probes of one check are under way.  Their results still count in the order in
which the probes *started*, as "consecutive" promises.  The first probes are spread over a second,
and so that not more than FIRST_A_SECOND begin in one second (but never over more than an interval):
each second of an interval has its share of them ever after.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from lb_switch.health.check import Target
from lb_switch.health.tracker import ProbeResult

Probe = Callable[[Target], Awaitable[ProbeResult]]

SPREAD = 1.0
"""Seconds over which first probes are spread, at least."""
FIRST_A_SECOND = 500
"""First probes that begin in one second, where the interval has room for it."""
MAX_UNDER_WAY = 16
"""Probes of one check at the same time; more are left out."""


class Rounds:
    """Runs checks by their numbers; `report(number, result)` is called after each probe."""

    def __init__(
        self,
        probe: Probe,
        report: Callable[[int, ProbeResult], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._probe = probe
        self._report = report
        self._jitter = jitter
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def start(self, number: int, target: Target) -> None:
        """Probe this target from now on."""
        self.stop(number)
        turn = len(self._tasks) // FIRST_A_SECOND * SPREAD % max(target.interval, SPREAD)
        self._tasks[number] = asyncio.create_task(self._run(number, target, turn))

    def stop(self, number: int) -> None:
        """Probe it no more, and report nothing of what is under way."""
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    async def _run(self, number: int, target: Target, turn: float) -> None:
        clock = asyncio.get_running_loop().time
        under_way: set[asyncio.Task[None]] = set()
        newest: asyncio.Task[None] | None = None
        due = clock() + turn + self._jitter() * min(SPREAD, target.interval)
        try:
            while True:
                await asyncio.sleep(due - clock())
                if len(under_way) < MAX_UNDER_WAY:
                    newest = asyncio.create_task(self._attempt(number, target, newest))
                    under_way.add(newest)
                    newest.add_done_callback(under_way.discard)
                # Beats that were missed (the machine slept) are not made up for.
                due = max(due + target.interval, clock())
        finally:
            for task in under_way:
                task.cancel()

    async def _attempt(
        self, number: int, target: Target, before: asyncio.Task[None] | None
    ) -> None:
        result = await self._probe(target)
        if before is not None:
            await asyncio.wait((before,))
        self._report(number, result)
