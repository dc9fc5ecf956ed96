"""Pictures as SVG, made by hand: one style for all of them, on light and on dark ground.

Text has a contrast of 4.5 and more to the ground, in both schemes (WCAG 2.1, 1.4.3).  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

LIGHT = ("#0072b2", "#d55e00", "#008f68", "#b0468a", "#8a6d00", "#1f8fc4", "#7a4fbf", "#5c6670")
DARK = ("#4aa8e0", "#ff8c42", "#2fc79a", "#e58cc4", "#d9b93b", "#7cc7f0", "#b59af0", "#a8b2bc")
"""Colours of things of one kind, by number; told apart by colour-blind eyes as well (after Okabe
and Ito).  More things repeat them."""

_STYLE = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 } .head { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #57606a } .mono { font-family: ui-monospace, monospace }
.end { text-anchor: end } .middle { text-anchor: middle }
.ground { fill: #ffffff } .panel { fill: none; stroke: #d0d7de }
.grid { stroke: #d8dee4 } .track { fill: #eaeef2 }
"""
_STYLE_DARK = """
text { fill: #e6edf3 } .small { fill: #9ba5b0 }
.ground { fill: #0d1117 } .panel { stroke: #30363d }
.grid { stroke: #2d333b } .track { fill: #21262d }
"""


def document(
    width: int,
    height: int,
    title: str,
    parts: Iterable[str],
    style: str = "",
    dark: str = "",
) -> str:
    """Return an SVG document: `parts` on plain ground.

    `title` is for those who cannot see it.  `style` adds rules for this picture's own classes,
    `dark` what is different of them on dark ground.
    """
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    rules = f"{_STYLE}{_of_colours(LIGHT)}\n{style}"
    rules_dark = f"{_STYLE_DARK}{_of_colours(DARK)}\n{dark}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{rules}@media (prefers-color-scheme: dark) {{{rules_dark}}}</style>",
            f'<rect class="ground" width="{width}" height="{height}"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Return a line of text; `kind`: its classes."""
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> str:
    """Return a rectangle of a class, perhaps with round corners."""
    rounded = f' rx="{radius:g}"' if radius else ""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{kind}" {place}{rounded}/>'


def group(x: float, y: float, parts: Sequence[str]) -> str:
    """Return parts moved to a place together."""
    return "\n".join([f'<g transform="translate({x:g} {y:g})">', *parts, "</g>"])


def fill(number: int) -> str:
    """Return the class that fills with the colour of this number."""
    return f"f{number % len(LIGHT)}"


def stroke(number: int) -> str:
    """Return the class that draws a line in the colour of this number."""
    return f"l{number % len(LIGHT)}"


def shortened(words: str, longest: int) -> str:
    """Return a text that has room: the middle of a longer one is left out."""
    if len(words) <= longest:
        return words
    half = (longest - 1) // 2
    return f"{words[:half]}…{words[-half:]}"


def _of_colours(palette: Sequence[str]) -> str:
    return " ".join(
        f".f{number} {{ fill: {colour} }} .l{number} {{ stroke: {colour} }}"
        for number, colour in enumerate(palette)
    )
