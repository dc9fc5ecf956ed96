"""`run --check-invariants`: the engine's books are audited while it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lb_switch.daemon.loop import Loop
    from lb_switch.engine.switch import Switch

SECONDS = 1.0
MAX_CONNECTIONS = 10_000
"""A larger table is not checked: the walk would hold up the packets for too long."""


class BrokenInvariantError(Exception):
    """The engine's books contradict each other.  `str()` is one line."""


class InvariantCheck:
    """Checks `switch` every second; the first thing that is wrong stops `loop`."""

    def __init__(self, switch: Switch, loop: Loop, complain: Callable[[str], None]) -> None:
        self._switch = switch
        self._loop = loop
        self._complain = complain
        self._broken = ""
        self._was_too_large = False

    def start(self, now: float) -> None:
        """Check from now on."""
        self._loop.call_at(now + SECONDS, self._check_again)

    def finish(self) -> None:
        """Check for the last time.  Raises BrokenInvariantError if anything was wrong."""
        self._check()
        if self._broken:
            raise BrokenInvariantError(f"an invariant is broken: {self._broken}")

    def _check_again(self, now: float) -> None:
        self._loop.call_at(now + SECONDS, self._check_again)
        self._check()
        if self._broken:
            self._loop.stop()

    def _check(self) -> None:
        from lb_switch.engine.invariants import InvariantError, check_invariants

        connections = len(self._switch.connections)
        too_large = connections > MAX_CONNECTIONS
        if too_large and not self._was_too_large:
            self._complain(f"{connections} connections are too many to check the invariants of")
        self._was_too_large = too_large
        if too_large or self._broken:
            return
        try:
            check_invariants(self._switch)
        except InvariantError as error:
            self._broken = str(error)
