"""The ladder as text: client, switch and real server as three columns, packets as arrows."""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.explain.rungs import SWITCH, Lanes, Leg, Rung, Rungs
from lb_switch.explain.style import WIDTH, Style
from lb_switch.stream.schema import DroppedRecord, EndRecord, Header, Record

_LEFT, _MIDDLE, _RIGHT = 10, 44, WIDTH - 2
"""Columns of the three lines."""
_SPAN = _MIDDLE - _LEFT - 1
"""Characters between two of them."""


class Ladder:
    """The view: `begin` once, then `show` each record; both yield lines of at most 80 columns.

    Packets come in the order of time; where the connection changes, new column heads say so.
    """

    def __init__(self, header: Header, style: Style) -> None:
        self._style = style
        self._rungs = Rungs(header)
        self._lanes: Lanes | None = None

    def begin(self) -> Iterator[str]:
        """Nothing is to be said before the first packet."""
        yield from ()

    def show(self, record: Record) -> Iterator[str]:
        """Draw one packet."""
        if isinstance(record, DroppedRecord):
            yield self._style.paint("bad", f"... {record.count:,} events are missing here")
        elif isinstance(record, EndRecord) and record.dropped:
            yield self._style.paint("bad", f"in all {record.dropped:,} events were dropped")
        for rung in self._rungs.of(record):
            if rung.lanes != self._lanes:
                yield from self._heads(rung.lanes)
                self._lanes = rung.lanes
            yield from self._rung(rung)

    def _heads(self, lanes: Lanes) -> Iterator[str]:
        if self._lanes is not None:
            yield ""
        yield self._style.paint("bold", lanes.title)
        for left, middle, right in (
            (lanes.left, SWITCH, lanes.right),
            (lanes.left_address, lanes.middle_address, lanes.right_address),
        ):
            yield self._three(left, middle, right).rstrip()

    def _three(self, left: str, middle: str, right: str) -> str:
        """Put three texts around the columns: the first begins there, the last ends there."""
        shorten = self._style.shorten
        left, middle, right = shorten(left, 32), shorten(middle, 20), shorten(right, 24)
        line = left.rjust(_LEFT + 1) if len(left) <= _LEFT else left
        line = line.ljust(_MIDDLE - len(middle) // 2) + middle
        return line.ljust(_RIGHT + 1 - len(right)) + right

    def _rung(self, rung: Rung) -> Iterator[str]:
        style, bar = self._style, self._style.glyphs.bar
        end = bar if rung.lanes.right else ""
        if not rung.has_legs:
            yield self._after(rung, f"{rung.time:.6f}"[: _LEFT - 1])
            return
        left, right = self._words(rung)
        number = "" if rung.number is None else f"#{rung.number}"
        yield f"{number:<{_LEFT}}{bar}{left:<{_SPAN}}{bar}{right:<{_SPAN}}{end}".rstrip()
        also = [leg.also if leg is not None else "" for leg in (rung.left, rung.right)]
        if any(also):
            cells = [style.shorten(f" {text}", _SPAN) for text in also]
            yield f"{'':<{_LEFT}}{bar}{cells[0]:<{_SPAN}}{bar}{cells[1]:<{_SPAN}}{end}"
        time = f"{rung.time:.6f}"[: _LEFT - 1]
        yield f"{time:<{_LEFT}}" + self._arrows(rung)
        if rung.after:
            yield self._after(rung, "")

    def _after(self, rung: Rung, time: str) -> str:
        """Return the line of what the arrows above it cause, or of what happens without any."""
        bar, room = self._style.glyphs.bar, _RIGHT - _LEFT - 1
        text = f"[{self._style.shorten(rung.after, room - 4)}]".center(room)
        painted = text if rung.has_legs else self._style.paint("bad", text)
        return f"{time:<{_LEFT}}{bar}{painted}{bar if rung.lanes.right else ''}".rstrip()

    def _words(self, rung: Rung) -> tuple[str, str]:
        """Return what stands above the arrows: the packet, and a remark where there is room."""
        left, right = (f" {leg.what}" if leg is not None else "" for leg in (rung.left, rung.right))
        note = f" [{rung.note}]" if rung.note else ""
        if rung.left is None:
            left += note
        else:
            right = self._style.shorten(right, _SPAN - len(note)) + note
        return self._style.shorten(left, _SPAN), self._style.shorten(right, _SPAN)

    def _arrows(self, rung: Rung) -> str:
        glyphs, left, right = self._style.glyphs, rung.left, rung.right
        ends = any(leg.ends for leg in (left, right) if leg is not None)
        first = glyphs.tee_right if left is not None and left.rightwards else glyphs.bar
        middle = self._style.paint("bad", glyphs.cross) if ends else glyphs.bar
        last = glyphs.bar if rung.lanes.right else ""
        if right is not None and not right.rightwards:
            last = glyphs.tee_left
        return f"{first}{self._arrow(left)}{middle}{self._arrow(right)}{last}".rstrip()

    def _arrow(self, leg: Leg | None) -> str:
        if leg is None:
            return " " * _SPAN
        glyphs = self._style.glyphs
        label = f" {self._style.shorten(leg.address, _SPAN - 6)} "
        shaft = label.center(_SPAN - 1, "\0").replace("\0", glyphs.line)
        drawn = shaft + glyphs.right if leg.rightwards else glyphs.left + shaft
        return self._style.paint("changed", drawn)
