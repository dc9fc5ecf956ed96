"""How a command says that it failed, and the exit codes."""

from __future__ import annotations

import os
from collections.abc import Sequence

DONE, FAILED = 0, 1
BAD_USAGE = BAD_CONFIGURATION = 2


def debugging() -> bool:
    """Whether LB_SWITCH_DEBUG asks for tracebacks and every log line."""
    return os.environ.get("LB_SWITCH_DEBUG", "0") not in {"", "0"}


class CommandError(Exception):
    """Ends the program: `lines` go to stderr as they are, then it exits with `exit_code`."""

    def __init__(self, lines: str | Sequence[str], exit_code: int = FAILED) -> None:
        self.lines = [f"lb-switch: {lines}"] if isinstance(lines, str) else list(lines)
        self.exit_code = exit_code
        super().__init__("\n".join(self.lines))
