"""An exception in the engine must not stop the traffic, and must not flood the log either."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lb_switch.engine.switch import Switch
    from lb_switch.engine.verdict import Verdict

_log = logging.getLogger(__name__)
_MAX_DISTINCT = 50


class FaultLog:
    """Counts every exception in the switch's counters and logs each distinct traceback once.

    At most 50 distinct tracebacks are logged in the life of the process, so that an attacker who
    can trigger an exception cannot fill the disk with it.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[object, ...]] = set()

    def note(self, switch: Switch) -> Verdict:
        """Record the exception being handled; returns the verdict of its packet (drop)."""
        error = sys.exc_info()[1]
        assert error is not None
        # Where it was raised, not its text: that may quote a different packet each time.
        place = (type(error).__name__, *_lines(error.__traceback__))
        if place not in self._seen and len(self._seen) < _MAX_DISTINCT:
            self._seen.add(place)
            _log.exception("internal error, packet dropped (logged once)")
        return switch.note_internal_error()


def _lines(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    for frame, line in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, line
