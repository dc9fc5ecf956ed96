"""How late the prober's own turns come.

A probe that is not finished in time says something about the real server only if the prober itself
had its turns in time: with more probes than the machine can make, or while something else takes the
processor, answers lie there unread until it is too late.
"""

from __future__ import annotations

import asyncio
from collections import deque

BEAT = 0.05
"""Seconds between two looks at the clock."""
KEPT = 1200
"""Beats that are remembered: a minute, which is the longest timeout."""
TOLERATED = 0.25
"""What part of a timeout the prober may be late without a doubt about the finding."""


class Lateness:
    """Looks at the clock now and then, while `watch` runs; without it, nothing is ever late."""

    def __init__(self) -> None:
        self._beats: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """When each came, and how late."""
        self._due: float | None = None

    async def watch(self) -> None:
        """Look for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            self._due = clock() + BEAT
            await asyncio.sleep(BEAT)
            now = clock()
            self._beats.append((now, now - self._due))

    def spoils(self, begin: float, timeout: float, now: float) -> bool:
        """Whether a timeout of a probe that began then may be the prober's own fault."""
        tolerated = TOLERATED * timeout
        if self._due is not None and now - self._due > tolerated:
            return True
        for at, late in reversed(self._beats):
            if at < begin:
                break
            if late > tolerated:
                return True
        return False


LATENESS = Lateness()
"""Of this process."""
