"""Text for people: 80 columns, colour only where it is welcome."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from typing import TextIO

WIDTH = 78
_BOLD = "1"
_CHANGED = "1;33"
_DIM = "2"


class Narrator:
    """Writes to one stream; in colour on a terminal, unless NO_COLOR (no-color.org) is set."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = (
            stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self._chapters = 0
        self._after_blank = True  # nothing yet: no gap before the first line

    def title(self, text: str) -> None:
        """The first line of all."""
        self._line(self._painted(_BOLD, text))
        self._line("=" * len(text))

    def chapter(self, text: str) -> None:
        """A numbered heading."""
        self._chapters += 1
        self._gap()
        self._line()
        self._line(self._painted(_BOLD, f"{self._chapters}. {text}"))

    def say(self, text: str) -> None:
        """A paragraph, filled; its own line breaks do not count."""
        self._gap()
        for line in textwrap.wrap(" ".join(text.split()), WIDTH - 2):
            self._line(f"  {line}")

    def command(self, text: str) -> None:
        """A command as one would type it; its output, a block, follows at once."""
        self._gap()
        self._line(self._painted(_DIM, f"    $ {text}"))

    def block(self, lines: Iterable[str], *, output: bool = False) -> None:
        """Lines as they are.  output: those of the command just shown."""
        if not output:
            self._gap()
        for line in lines:
            self._line(f"    {line}".rstrip())

    def marked(self, text: str) -> str:
        """A piece of a line that should catch the eye."""
        return self._painted(_CHANGED, text)

    def _painted(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _gap(self) -> None:
        if not self._after_blank:
            self._line()

    def _line(self, text: str = "") -> None:
        print(text, file=self._stream, flush=True)
        self._after_blank = not text
