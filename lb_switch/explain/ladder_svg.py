"""The ladder as an SVG picture that can be read on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from lb_switch.drawing import document, rect, shortened, text
from lb_switch.explain.rungs import SWITCH, Lanes, Leg, Rung

_WIDTH = 960
_LEFT, _MIDDLE, _RIGHT = 190, 500, 810
"""Where the three lines run."""
_HEAD_WIDTH, _WIDEST_HEAD, _HEAD_HEIGHT = 220, 296, 46
_ROW, _NOTE = 50, 20
_LONGEST = 38
"""Characters that fit on an arrow."""
_LONGEST_NOTE = 80

_STYLE = """
.note { font-size: 11.5px } .box { fill: #e8eef5; stroke: #8ba0b5 }
.switch { fill: #fdf0d5; stroke: #c99a3b } .lane { stroke: #a9b7c4; stroke-width: 1.5 }
.arrow { stroke: #2166ac; stroke-width: 1.8 } .tip { fill: #2166ac } .new { fill: #9a4a00 }
.pill { fill: #eef1f4; stroke: #b8c4cf } .cross { stroke: #c0272d; stroke-width: 2.4; fill: none }
"""
_STYLE_DARK = """
.box { fill: #22303d; stroke: #5d7388 } .switch { fill: #3b3018; stroke: #b98f3c }
.lane { stroke: #4b5a68 } .arrow { stroke: #6fb1ea } .tip { fill: #6fb1ea } .new { fill: #f0b070 }
.pill { fill: #26313b; stroke: #55636f } .cross { stroke: #ff7b72 }
"""


def svg(rungs: Iterable[Rung], title: str) -> str:
    """Return a picture of all rungs, one block for each run of packets of one connection."""
    parts: list[str] = []
    y = 16
    for lanes, group in groupby(rungs, key=lambda rung: rung.lanes):
        drawn, y = _block(lanes, list(group), y)
        parts += drawn
    return document(_WIDTH, y, title, parts, _STYLE, _STYLE_DARK)


def _block(lanes: Lanes, rungs: list[Rung], top: int) -> tuple[list[str], int]:
    """Return the elements of one block and where the next one begins."""
    heads = top + 26
    first = heads + _HEAD_HEIGHT + 10
    rows: list[str] = []
    y = first
    for rung in rungs:
        drawn, y = _row(rung, y)
        rows += drawn
    columns = [_LEFT, _MIDDLE, *([_RIGHT] if lanes.right else [])]
    lines = [
        f'<line class="lane" x1="{x}" y1="{heads + _HEAD_HEIGHT}" x2="{x}" y2="{y}"/>'
        for x in columns
    ]
    boxes = [
        *_head(_LEFT, heads, lanes.left, lanes.left_address, "box"),
        *_head(_MIDDLE, heads, SWITCH, lanes.middle_address, "switch"),
    ]
    if lanes.right:
        boxes += _head(_RIGHT, heads, lanes.right, lanes.right_address, "box")
    return [text(16, top + 14, lanes.title, "title"), *lines, *boxes, *rows], y + 24


def _head(x: int, y: int, name: str, place: str, kind: str) -> Iterator[str]:
    name, place = shortened(name, _LONGEST), shortened(place, _LONGEST)
    width = min(_WIDEST_HEAD, max(_HEAD_WIDTH, 8 * len(place) + 16))
    yield rect(x - width / 2, y, width, _HEAD_HEIGHT, kind, 7)
    if name == place or not place:
        yield text(x, y + 28, name, "head middle")
        return
    yield text(x, y + 19, name, "head middle")
    yield text(x, y + 36, place, "mono middle")


def _row(rung: Rung, y: int) -> tuple[list[str], int]:
    parts = []
    if not rung.has_legs:
        parts += [text(12, y + 17, f"{rung.time:.6f}", "mono small"), *_pill(rung.after, y + 4)]
        return parts, y + _NOTE + 10
    if rung.number is not None:
        parts.append(text(12, y + 20, f"#{rung.number}", "mono small"))
    parts.append(text(12, y + 35, f"{rung.time:.6f}", "mono small"))
    also = any(leg is not None and leg.also for leg in (rung.left, rung.right))
    for leg, near, far in ((rung.left, _LEFT, _MIDDLE), (rung.right, _MIDDLE, _RIGHT)):
        if leg is not None:
            parts += _arrow(leg, near, far, y)
    y += _ROW + (15 if also else 0)
    for remark in filter(None, (rung.note, rung.after)):
        parts += _pill(remark, y - 4)
        y += _NOTE
    return parts, y


def _pill(remark: str, y: int) -> Iterator[str]:
    """A remark in the lane of the switch."""
    remark = shortened(remark, _LONGEST_NOTE)
    width = 7 * len(remark) + 18
    yield rect(_MIDDLE - width / 2, y, width, 18, "pill", 9)
    yield text(_MIDDLE, y + 13, remark, "note middle")


def _arrow(leg: Leg, near: int, far: int, y: int) -> Iterator[str]:
    level = y + 22
    start, end = (near, far) if leg.rightwards else (far, near)
    step = 1 if leg.rightwards else -1
    centre = (near + far) // 2
    yield text(centre, y + 15, shortened(leg.what, _LONGEST), "middle")
    yield (
        f'<line class="arrow" x1="{start + 3 * step}" y1="{level}" x2="{end - 10 * step}"'
        f' y2="{level}"/>'
    )
    tip = f"{end - 2 * step},{level} {end - 12 * step},{level - 5} {end - 12 * step},{level + 5}"
    yield f'<polygon class="tip" points="{tip}"/>'
    yield text(centre, y + 38, shortened(leg.address, _LONGEST), "mono new middle")
    if leg.also:
        yield text(centre, y + 53, shortened(leg.also, _LONGEST), "mono new middle")
    if leg.ends:
        yield (f'<path class="cross" d="M{end - 7} {level - 7} l14 14 m0 -14 l-14 14"/>')
