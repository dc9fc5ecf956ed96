"""The results as a picture: one panel of bars for each figure, as SVG.  Pure.

It follows the reader's light or dark scheme, and says in words what colours would only hint at.
"""

from __future__ import annotations

from collections.abc import Mapping

from lb_switch.drawing import document, rect, text
from netns_lab.bench.contestants import CONTESTANTS, REFERENCE
from netns_lab.bench.measures import FIGURES, Figure
from netns_lab.bench.results import NOT_AVAILABLE, Table, ratios, shown

COLUMNS = 3
PANEL_WIDTH = 380
BAR_HEIGHT = 16
ROW_HEIGHT = 24
_NAME_WIDTH = 92
_VALUE_WIDTH = 108
_HEAD = 44
_MARGIN = 24
_TITLE = 56
_FOOT = 28
_LONGEST = PANEL_WIDTH - _NAME_WIDTH - _VALUE_WIDTH - 16

_STYLE = ".bar { fill: #818b98 } .reference { fill: #59636e } .ours { fill: #0969da }"
_STYLE_DARK = ".bar { fill: #6e7681 } .reference { fill: #9198a1 } .ours { fill: #4493f8 }"


def svg(table: Table, subtitle: str) -> str:
    """The picture of these medians.  subtitle: what they depend on, one line."""
    figures = [
        figure
        for figure in FIGURES.values()
        if any(figure.name in by_figure for by_figure in table.values())
    ]
    relative = ratios(table)
    panel_height = _HEAD + ROW_HEIGHT * len(table) + 12
    rows = -(-len(figures) // COLUMNS)
    width = 2 * _MARGIN + COLUMNS * PANEL_WIDTH
    height = _TITLE + 2 * _MARGIN + rows * panel_height + _FOOT
    parts = [
        text(_MARGIN, _MARGIN + 16, "Balancers side by side", "title"),
        text(_MARGIN, _MARGIN + 36, subtitle, "small"),
    ]
    for index, figure in enumerate(figures):
        x = _MARGIN + index % COLUMNS * PANEL_WIDTH
        y = _TITLE + _MARGIN + index // COLUMNS * panel_height
        parts += _panel(figure, table, relative, x, y)
    foot = "Medians of the rounds; in brackets the ratio to HAProxy. n/a: it has none."
    parts.append(text(_MARGIN, height - _MARGIN + 4, foot, "small"))
    return document(width, height, _in_words(table), parts, _STYLE, _STYLE_DARK)


def _panel(figure: Figure, table: Table, relative: Table, x: int, y: int) -> list[str]:
    better = "more is better" if figure.higher else "less is better"
    parts = [
        text(x, y + 12, figure.title, "head"),
        text(x, y + 28, f"{figure.unit}, {better}", "small"),
    ]
    longest = max(by_figure.get(figure.name, 0.0) for by_figure in table.values())
    for row, (name, by_figure) in enumerate(table.items()):
        top = y + _HEAD + row * ROW_HEIGHT
        base = top + BAR_HEIGHT - 4
        parts.append(text(x, base, name))
        value = by_figure.get(figure.name)
        length = round(_LONGEST * value / longest, 1) if value and longest else 0
        if value is not None:
            parts.append(rect(x + _NAME_WIDTH, top, max(length, 1), BAR_HEIGHT, _class(name), 2))
        said = shown(figure, value)
        ratio = relative.get(name, {}).get(figure.name)
        if ratio is not None and name != REFERENCE:
            said += f" ({ratio:.2f})"
        kind = "small" if said == NOT_AVAILABLE else ""
        parts.append(text(x + _NAME_WIDTH + length + 6, base, said, kind))
    return parts


def _class(name: str) -> str:
    if CONTESTANTS[name].kind == "ours":
        return "ours"
    return "reference" if name == REFERENCE else "bar"


def _in_words(table: Mapping[str, Mapping[str, float]]) -> str:
    names = ", ".join(CONTESTANTS[name].title for name in table)
    return f"Speed of balancers, measured side by side: {names}"
