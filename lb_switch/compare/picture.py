"""The comparison as a picture: SVG, one panel for each scheduler, all on the same scales.

A panel shows each real server's share of the new connections (a tick: its weight's share), the
active connections over time, and what becomes of the clients that come back when one real server
leaves.  Made by hand, without a library; readable on light and on dark ground.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lb_switch.compare.schedulers import Comparison, Figures, Moves
from lb_switch.compare.table import fitting, headline, server_name
from lb_switch.drawing import document, fill, group, rect, stroke, text

_WIDTH, _MARGIN, _GAP, _COLUMNS = 960, 24, 24, 2
_PANEL = (_WIDTH - 2 * _MARGIN - _GAP) // _COLUMNS
_BARS, _PLOT_LEFT = 120, 196
_BAR_STEP = 22
_PLOT_TOP, _PLOT_LEAST = 34, 104
_TICK_MARK, _TICK_LABEL = '<path class="tick" d="M5 -13v18"/>', "share that the weight calls for"
_LINE = 130
"""Characters of small text that fit across the picture."""
_POINTS = 200
"""Places along the time axis at which lines are drawn: means of what lies between."""

_STYLE = """
.tick { stroke: #1f2328; stroke-width: 2 } .line { fill: none }
.must { fill: #8c959f } .beyond { fill: #cf222e }
"""
_STYLE_DARK = """
.tick { stroke: #e6edf3 } .must { fill: #8b949e } .beyond { fill: #ff7b72 }
"""


class _Scales(NamedTuple):
    """What all panels share."""

    share: float
    """The share that fills a bar."""
    active: float
    """The active connections at the plot's top."""
    plot_height: int
    panel_height: int


def picture(comparison: Comparison) -> str:
    """Return the SVG document."""
    count = len(comparison.group.real_servers)
    lines = {
        figures.scheduler: _curves(figures, comparison.load.span) for figures in comparison.figures
    }
    highest = max(value for curves in lines.values() for curve in curves for value in curve)
    plot = max(_PLOT_LEAST, count * _BAR_STEP)
    shares = [share for figures in comparison.figures for share in figures.shares]
    moves = 58 if comparison.leaver is not None else 0
    scales = _Scales(
        max(*shares, *comparison.ideal), _round_up(highest), plot, _PLOT_TOP + plot + 30 + moves
    )
    legend = list(_legend(comparison))
    about = textwrap.wrap(headline(comparison), _LINE)
    shift = 16 * (len(about) - 1)
    top = 66 + shift + 20 * len(legend)
    rows = -(-len(comparison.figures) // _COLUMNS)
    height = top + rows * (scales.panel_height + _GAP) - _GAP + _MARGIN
    parts = [
        text(_MARGIN, 34, "One load, every scheduler", "title"),
        *(text(_MARGIN, 54 + 16 * row, line, "small") for row, line in enumerate(about)),
        *(group(_MARGIN, 76 + shift + 20 * row, line) for row, line in enumerate(legend)),
    ]
    for number, figures in enumerate(comparison.figures):
        x = _MARGIN + number % _COLUMNS * (_PANEL + _GAP)
        y = top + number // _COLUMNS * (scales.panel_height + _GAP)
        panel = _panel(figures, comparison, lines[figures.scheduler], scales)
        parts.append(group(x, y, list(panel)))
    title = f"Schedulers compared: {headline(comparison)}"
    return document(_WIDTH, height, title, parts, _STYLE, _STYLE_DARK)


def _legend(comparison: Comparison) -> Iterator[list[str]]:
    """Yield rows of marks and what they mean: real servers with their weights, and the tick."""
    entries = [
        (_coloured(index), f"{server_name(comparison, index)}  weight {weight}")
        for index, (_, weight) in enumerate(comparison.group.real_servers)
    ]
    row: list[str] = []
    x = 0
    for mark, label in [*entries, (_TICK_MARK, _TICK_LABEL)]:
        width = 34 + 7 * len(label)
        if row and x + width > _WIDTH - 2 * _MARGIN:
            yield row
            row, x = [], 0
        row += [group(x, 0, [mark]), text(x + 16, 0, label)]
        x += width
    yield row


def _coloured(index: int) -> str:
    return rect(0, -9, 10, 10, fill(index))


def _panel(
    figures: Figures, comparison: Comparison, curves: Sequence[Sequence[float]], scales: _Scales
) -> Iterator[str]:
    yield rect(0, 0, _PANEL, scales.panel_height, "panel", 6)
    yield text(12, 22, figures.scheduler, "title")
    yield text(60, 22, "share of new connections", "small")
    yield text(_PLOT_LEFT + 30, 22, "active connections", "small")
    spread = f"spread {figures.spread_mean:.1f}, at most {figures.spread_most:.1f}"
    yield text(12, _PLOT_TOP + scales.plot_height + 16, spread, "small")
    yield from _bars(figures, comparison, scales)
    yield from _plot(comparison.load.span, curves, scales)
    if comparison.leaver is not None:
        leaver = fitting(server_name(comparison, comparison.leaver))
        yield from _moves(figures.moves, leaver, scales)


def _bars(figures: Figures, comparison: Comparison, scales: _Scales) -> Iterator[str]:
    for index, (share, ideal) in enumerate(zip(figures.shares, comparison.ideal, strict=True)):
        y = _PLOT_TOP + index * _BAR_STEP
        width = _BARS * share / scales.share
        tick = 12 + _BARS * ideal / scales.share
        yield rect(12, y, _BARS, 14, "track")
        yield rect(12, y, round(width, 1), 14, fill(index))
        yield f'<path class="tick" d="M{tick:.1f} {y - 2}v18"/>'
        yield text(12 + _BARS + 50, y + 11, f"{share * 100:.1f} %", "end")


def _plot(span: float, curves: Sequence[Sequence[float]], scales: _Scales) -> Iterator[str]:
    left, right = _PLOT_LEFT + 30, _PANEL - 14
    bottom = _PLOT_TOP + scales.plot_height
    for part in (0.0, 0.5, 1.0):
        y = bottom - part * scales.plot_height
        yield f'<path class="grid" d="M{left} {y:.1f}H{right}"/>'
        yield text(left - 6, y + 4, f"{scales.active * part:g}", "small end")
    yield text(left, bottom + 16, "0 s", "small")
    yield text(right, bottom + 16, f"{span:.3g} s", "small end")
    for index, curve in enumerate(curves):
        points = " ".join(
            f"{left + (right - left) * number / max(1, len(curve) - 1):.1f},"
            f"{bottom - scales.plot_height * value / scales.active:.1f}"
            for number, value in enumerate(curve)
        )
        yield (f'<polyline class="line {stroke(index)}" stroke-width="1.5" points="{points}"/>')


def _moves(moves: Moves | None, leaver: str, scales: _Scales) -> Iterator[str]:
    """Draw a bar of all clients that come back: must move, move beyond that, stay."""
    y = scales.panel_height - 36
    if moves is None:
        yield text(12, y + 8, "no client comes back after a real server left", "small")
        return
    yield text(12, y - 6, f"clients that come back after {leaver} left", "small")
    width = _PANEL - 26
    must, beyond = width * moves.must, width * moves.beyond
    yield rect(12, y, width, 8, "track")
    yield rect(12, y, round(must, 1), 8, "must")
    yield rect(round(12 + must, 1), y, round(beyond, 1), 8, "beyond")
    words = (
        f"{moves.must * 100:.0f} % must move, {moves.beyond * 100:.0f} % more do;"
        f" {moves.anyway * 100:.0f} % move if nobody leaves"
    )
    yield text(12, y + 24, words, "small")


def _curves(figures: Figures, span: float) -> list[list[float]]:
    """Return for each real server its mean active connections in _POINTS parts of the span."""
    count = len(figures.connections)
    if span <= 0:
        return [[float(figures.active[-1][1][index])] for index in range(count)]
    step = span / _POINTS
    sums = [[0.0] * _POINTS for _ in range(count)]
    ends = [time for time, _ in figures.active[1:]] + [span]
    for (begin, counts), end in zip(figures.active, ends, strict=True):
        at, stop = begin, min(end, span)
        while at < stop:
            number = min(int(at / step), _POINTS - 1)
            until = min(stop, (number + 1) * step) if number < _POINTS - 1 else stop
            if until <= at:  # rounding has put `at` on the far edge of its part
                number, until = min(number + 1, _POINTS - 1), min(stop, (number + 2) * step)
            for index, active in enumerate(counts):
                sums[index][number] += active * (until - at)
            at = until
    return [[value / step for value in curve] for curve in sums]


def _round_up(value: float) -> float:
    """Return the next number that is easy to halve: 1, 2, 4, 6, 10, 20, 40, 60, 100, ..."""
    power = 1
    while value > 10 * power:
        power *= 10
    return float(next(n * power for n in (1, 2, 4, 6, 8, 10) if n * power >= value))
