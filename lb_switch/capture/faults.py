"""An exception in the engine must not stop the traffic, and must not flood the log either."""

from __future__ import annotations

import hashlib
import logging
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lb_switch.switch import Switch
    from lb_switch.verdict import Verdict

_log = logging.getLogger(__name__)
_MAX_DISTINCT = 50


class FaultLog:
    """Counts every exception in the switch's counters and logs each distinct traceback once.

    At most 50 distinct tracebacks are logged in the life of the process, so that an attacker who
    can trigger an exception cannot fill the disk with it.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def note(self, switch: Switch) -> Verdict:
        """Record the exception being handled; returns the verdict of its packet (drop)."""
        text = traceback.format_exc()
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if digest not in self._seen and len(self._seen) < _MAX_DISTINCT:
            self._seen.add(digest)
            _log.error("internal error, packet dropped (logged once):\n%s", text)
        return switch.note_internal_error()
