"""The views by name: what each takes and gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, get_args

from lb_switch.explain.header_diff import HeaderDiff
from lb_switch.explain.ladder_text import Ladder
from lb_switch.explain.story import Story
from lb_switch.explain.style import Style
from lb_switch.stream.schema import Header, Record

ViewName = Literal["story", "diff", "ladder"]
NAMES: tuple[ViewName, ...] = get_args(ViewName)


class View(Protocol):
    """Turns records into lines of at most 80 columns, as they come."""

    def begin(self) -> Iterator[str]:
        """Yield what stands before everything else."""

    def show(self, record: Record) -> Iterator[str]:
        """Yield the lines of a record."""


def make(
    name: ViewName,
    header: Header,
    style: Style,
    *,
    checksum: bool = False,
    changed: bool = False,
) -> View:
    """Return a view.

    Of the diff: checksum walks through the arithmetic, changed leaves out what stayed.
    """
    if name == "diff":
        return HeaderDiff(header, style, checksum=checksum, changed=changed)
    return Story(header, style) if name == "story" else Ladder(header, style)
