"""The longest of many short times, on two clocks, beside a control."""

from __future__ import annotations

import heapq
import time
from typing import Any

KEPT = 5
"""How many of the longest are told in detail."""

Mark = tuple[int, int]


def mark() -> Mark:
    """Now: thread CPU time and wall time, in nanoseconds.  The wall clock is the inner one."""
    return time.thread_time_ns(), time.perf_counter_ns()


class Longest:
    """Notes durations; remembers the longest and how many were over 1 ms and over 5 ms."""

    def __init__(self) -> None:
        self.count = 0
        self.worst_wall = self.worst_cpu = 0
        self.over_1_ms = self.over_5_ms = 0
        self._top: list[tuple[int, int, int]] = []

    def note(self, begin: Mark, where: int) -> None:
        """Note the time since `begin`.  `where` (the number of connections) goes with it."""
        wall = time.perf_counter_ns() - begin[1]
        cpu = time.thread_time_ns() - begin[0]
        self.count += 1
        self.worst_wall = max(self.worst_wall, wall)
        self.worst_cpu = max(self.worst_cpu, cpu)
        if wall > 1_000_000:
            self.over_1_ms += 1
            self.over_5_ms += wall > 5_000_000
        if len(self._top) < KEPT:
            heapq.heappush(self._top, (wall, cpu, where))
        elif wall > self._top[0][0]:
            heapq.heapreplace(self._top, (wall, cpu, where))

    def summary(self) -> dict[str, Any]:
        """As JSON; times in milliseconds."""
        return {
            "count": self.count,
            "worst_ms": ms(self.worst_wall),
            "worst_cpu_ms": ms(self.worst_cpu),
            "over_1_ms": self.over_1_ms,
            "over_5_ms": self.over_5_ms,
            "longest": [
                {"ms": ms(wall), "cpu_ms": ms(cpu), "connections": where}
                for wall, cpu, where in sorted(self._top, reverse=True)
            ],
        }


class Control:
    """Arithmetic that takes about as long as a packet and touches no memory that grows."""

    def __init__(self, seconds: float) -> None:
        begin = time.perf_counter()
        self._turns = 2000
        self.work()
        each = (time.perf_counter() - begin) / 2000
        self._turns = max(1, round(seconds / each))

    def work(self) -> None:
        """Take the time."""
        value = 0
        for turn in range(self._turns):
            value = (value + turn) & 0xFF


def ms(nanoseconds: int) -> float:
    """Nanoseconds as milliseconds."""
    return round(nanoseconds / 1e6, 3)
