"""The style of all pictures: what is written can be read, on light and on dark ground."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from lb_switch.drawing import DARK, LIGHT, document, fill, group, rect, shortened, stroke, text


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colours(style: str, kind: str) -> str:
    found = re.search(rf"(?:^|\s){re.escape(kind)} {{[^}}]*fill: (#[0-9a-f]{{6}})", style)
    assert found, kind
    return found[1]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(scheme: int) -> None:
    style = document(10, 10, "x", []).split("prefers-color-scheme: dark")[scheme]
    ground = colours(style, ".ground")
    for kind in ("text", ".small"):
        assert contrast(colours(style, kind), ground) >= 4.5, kind


@pytest.mark.parametrize(("palette", "ground"), [(LIGHT, "#ffffff"), (DARK, "#0d1117")])
def test_colours_stand_out(palette: tuple[str, ...], ground: str) -> None:
    for colour in palette:
        assert contrast(colour, ground) >= 3.0, colour


def test_what_is_written_stays_text() -> None:
    bad = "<script>&\"'"
    picture = document(
        10, 10, bad, [group(1, 2, [text(3, 4.5, bad, "small"), rect(0, 0, 1, 1, "x")])]
    )
    root = ElementTree.fromstring(picture)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "style", "rect", "g", "text"}
    assert [each.text for each in root.iter() if each.text == bad] == [bad, bad]


def test_more_things_than_colours_repeat_them() -> None:
    assert (fill(8), stroke(9)) == (fill(0), stroke(1))


def test_the_middle_of_a_long_text_is_left_out() -> None:
    assert shortened("short", 5) == "short"
    assert shortened("2001:db8:1111:2222::1", 11) == "2001:…22::1"
