"""The results as a picture: one panel of bars for each figure, as SVG.  Pure.

It follows the reader's light or dark scheme, and says in words what colours would only hint at.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

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

# Contrasts of 4.5 and more for text, 3 and more for bars, in both schemes (WCAG 2.1, 1.4.3 and
# 1.4.11).
_STYLE = """
  text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-size: 18px; font-weight: 600 }
  .head { font-size: 13px; font-weight: 600 }
  .quiet { fill: #59636e; font-size: 11px }
  .ground { fill: #ffffff }
  .bar { fill: #818b98 }
  .reference { fill: #59636e }
  .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .ground { fill: #0d1117 }
    .bar { fill: #6e7681 }
    .reference { fill: #9198a1 }
    .ours { fill: #4493f8 }
  }
"""


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
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img" aria-labelledby="t">'
        ),
        f'<title id="t">{escape(_in_words(table))}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 16}">Balancers side by side</text>',
        f'<text class="quiet" x="{_MARGIN}" y="{_MARGIN + 36}">{escape(subtitle)}</text>',
    ]
    for index, figure in enumerate(figures):
        x = _MARGIN + index % COLUMNS * PANEL_WIDTH
        y = _TITLE + _MARGIN + index // COLUMNS * panel_height
        parts += _panel(figure, table, relative, x, y)
    foot = "Medians of the rounds; in brackets the ratio to HAProxy. n/a: it has none."
    parts.append(
        f'<text class="quiet" x="{_MARGIN}" y="{height - _MARGIN + 4}">{escape(foot)}</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(figure: Figure, table: Table, relative: Table, x: int, y: int) -> list[str]:
    better = "more is better" if figure.higher else "less is better"
    parts = [
        f'<text class="head" x="{x}" y="{y + 12}">{escape(figure.title)}</text>',
        f'<text class="quiet" x="{x}" y="{y + 28}">{escape(figure.unit)}, {better}</text>',
    ]
    longest = max(by_figure.get(figure.name, 0.0) for by_figure in table.values())
    for row, (name, by_figure) in enumerate(table.items()):
        top = y + _HEAD + row * ROW_HEIGHT
        base = top + BAR_HEIGHT - 4
        parts.append(f'<text x="{x}" y="{base}">{escape(name)}</text>')
        value = by_figure.get(figure.name)
        length = round(_LONGEST * value / longest, 1) if value and longest else 0
        if value is not None:
            parts.append(
                f'<rect class="{_class(name)}" x="{x + _NAME_WIDTH}" y="{top}"'
                f' width="{max(length, 1)}" height="{BAR_HEIGHT}" rx="2"/>'
            )
        text = shown(figure, value)
        ratio = relative.get(name, {}).get(figure.name)
        if ratio is not None and name != REFERENCE:
            text += f" ({ratio:.2f})"
        css = ' class="quiet"' if text == NOT_AVAILABLE else ""
        parts.append(
            f'<text{css} x="{x + _NAME_WIDTH + length + 6:g}" y="{base}">{escape(text)}</text>'
        )
    return parts


def _class(name: str) -> str:
    if CONTESTANTS[name].kind == "ours":
        return "ours"
    return "reference" if name == REFERENCE else "bar"


def _in_words(table: Mapping[str, Mapping[str, float]]) -> str:
    names = ", ".join(CONTESTANTS[name].title for name in table)
    return f"Speed of balancers, measured side by side: {names}"
