"""How text looks: colour where it is welcome, characters that the reader can show, 80 columns."""

from __future__ import annotations

import codecs
import locale
import os
import textwrap
from dataclasses import dataclass
from typing import NamedTuple, TextIO

WIDTH = 80
NO_BREAK = "\N{NO-BREAK SPACE}"

_CODES = {"bold": "1", "dim": "2", "changed": "1;33", "bad": "1;31", "good": "32"}


class Glyphs(NamedTuple):
    """The characters beyond ASCII, or what stands for them."""

    to: str
    changed: str
    bar: str
    line: str
    tee_right: str
    tee_left: str
    right: str
    left: str
    cross: str
    tick: str
    dots: str


UNICODE = Glyphs("→", "≠", "│", "─", "├", "┤", "►", "◄", "✗", "✓", "…")
ASCII = Glyphs("->", "!", "|", "-", "|", "|", ">", "<", "X", "ok", "..")


@dataclass(frozen=True)
class Style:
    """Everything that depends on who reads.  The default is for files: no colour, UTF-8."""

    glyphs: Glyphs = UNICODE
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, *, ascii_only: bool = False) -> Style:
        """Return what suits a stream: its encoding, terminal or not, NO_COLOR (no-color.org)."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        glyphs = ASCII if ascii_only or not _can_show(stream) else UNICODE
        return cls(glyphs, stream.isatty() and not plain)

    def paint(self, kind: str, text: str) -> str:
        """Colour a piece of text: bold, dim, changed, bad or good."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.colour and text else text

    def fill(self, text: str, indent: int = 4, hang: int = 2) -> list[str]:
        """Break a text into lines; those after the first are indented by `hang` more.

        A no-break space keeps what is left and right of it on one line.
        """
        lines = textwrap.wrap(
            text,
            WIDTH,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hang),
            break_on_hyphens=False,
        )
        return [line.replace(NO_BREAK, " ") for line in lines] or [""]

    def shorten(self, text: str, width: int) -> str:
        """Take the middle out of a text that is too long."""
        if len(text) <= width:
            return text
        kept = width - len(self.glyphs.dots)
        tail = (kept + 1) // 2
        return text[: kept - tail] + self.glyphs.dots + text[-tail:]


def _can_show(stream: TextIO) -> bool:
    """Whether the stream, and the terminal behind it (its locale), know the characters.

    Python may write UTF-8 although the locale is `C` (PEP 540); a reader who asked for `C` by
    LC_ALL gets ASCII, unless PYTHONIOENCODING or PYTHONUTF8 say otherwise.
    """
    encodings = [stream.encoding or "ascii"]
    if not (os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8")):
        encodings.append(locale.getencoding())
    try:
        for encoding in encodings:
            "".join(UNICODE).encode(codecs.lookup(encoding).name)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
