"""asyncio on a clock that jumps: when everybody waits, it is the next deadline already."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class _NoWait(selectors.SelectSelector):
    """Turns waiting into time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _NoWait()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end, in no time."""

    async def started() -> T:
        return await main()

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(started())
