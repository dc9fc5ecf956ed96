"""The packet loop's part that health needs, with a clock that only tests turn."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0
"""Real seconds until a wait counts as failed."""


class HandLoop:
    """Files are real, time is not: `now` moves by `advance` alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.files: dict[int, Callable[[float], None]] = {}
        self.alarms: list[tuple[float, Callable[[float], None]]] = []
        self._poll = select.epoll()

    def register(
        self, fileobj: Any, callback: Callable[[float], None], writing: bool = False
    ) -> None:
        fd = fileobj.fileno()
        events = select.EPOLLIN | (select.EPOLLOUT if writing else 0)
        (self._poll.modify if fd in self.files else self._poll.register)(fd, events)
        self.files[fd] = callback

    def unregister(self, fileobj: Any) -> None:
        fd = fileobj.fileno()
        if self.files.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[float], None]) -> None:
        self.alarms.append((when, callback))

    def advance(self, seconds: float) -> None:
        """Let time pass, and call whom it concerns."""
        end = self.now + seconds
        while due := sorted(
            (alarm for alarm in self.alarms if alarm[0] <= end), key=lambda a: a[0]
        ):
            self.alarms.remove(due[0])
            self.now = max(self.now, due[0][0])
            due[0][1](self.now)
        self.now = end

    def jump(self, seconds: float) -> None:
        """Let time pass of which nobody here noticed anything."""
        self.now += seconds

    def until(self, condition: Callable[[], Any]) -> None:
        """Serve files until the condition holds; fails after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            for fd, _ in self._poll.poll(0.05):
                if fd in self.files:
                    self.files[fd](self.now)
