"""How a command says that it failed."""

from __future__ import annotations

from collections.abc import Sequence


class CommandError(Exception):
    """Ends the program: `lines` go to stderr as they are, then it exits with `exit_code`."""

    def __init__(self, lines: str | Sequence[str], exit_code: int = 1) -> None:
        self.lines = [f"lb-switch: {lines}"] if isinstance(lines, str) else list(lines)
        self.exit_code = exit_code
        super().__init__("\n".join(self.lines))
