"""A recording that somebody else has made: no view of it acts, none of it is an internal error."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.explain import ladder_mermaid, ladder_svg, views
from lb_switch.explain.rungs import Rung, Rungs
from lb_switch.explain.style import ASCII, Style
from lb_switch.stream.recording import Recording, RecordingError
from lb_switch.stream.schema import Record
from tests.cli.conftest import Run
from tests.cli.conftest import run as run  # noqa: PLC0414 - a fixture
from tests.explain import told

EVIL = [
    "\x1b[31mred",
    "\x1b]0;title\a",
    "\x9b2J",
    "two\nlines",
    "\r\x08\x08",
    "\u202eturned\u2066",
    "</text><script>alert(1)</script>",
    "]]>&amp;<!--",
    "x\n    Note over lb: smuggled",
    "; participant evil",
    "%%{init: {}}%%",
    "#35;#quot;",
    "\x00\ufffe\x7f",
]
MERMAID = re.compile(
    r"sequenceDiagram|    participant \w+ as [^;\n]*(#\d+;[^;\n]*)*"
    r"|    Note (over|right of) [\w,]+: .*|    \w+(->>|-x)\w+: .*"
)


def hostile(evil: str) -> Iterator[bytes]:
    """Put the text wherever a recording may have any, one place after the other in each line."""
    for line in told.lines():
        data = json.loads(line)
        for place, key in list(_places(data)):
            before = place[key]
            place[key] = evil
            changed = json.dumps(data).encode() + b"\n"
            if not _is_read(changed, first=line is told.lines()[0]):
                place[key] = before
        yield json.dumps(data).encode() + b"\n"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, str):
            yield value, key
        elif isinstance(each, dict | list):
            yield from _places(each)


def _is_read(line: bytes, *, first: bool) -> bool:
    try:
        recording = Recording([line] if first else [told.lines()[0], line], "x")
        if not first:
            next(iter(recording))
    except RecordingError:
        return False
    return True


def all_views(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """Yield everything that is made of a recording: which view, and its text."""
    for style in (Style(), Style(ASCII)):
        for name in views.NAMES:
            recording = Recording(lines, "x")
            view = views.make(name, recording.header, style, checksum=True)
            shown = [*view.begin()]
            for record in recording:
                shown += view.show(record)
            yield name, "\n".join(shown)
    recording = Recording(lines, "x")
    rungs, drawn = Rungs(recording.header), list[Rung]()
    records: list[Record] = list(recording)
    for record in records:
        drawn += rungs.of(record)
    yield "svg", ladder_svg.svg(drawn, "hostile")
    yield "mermaid", "\n".join(ladder_mermaid.mermaid(drawn))


@pytest.mark.parametrize("evil", EVIL)
def test_no_view_acts(evil: str) -> None:
    lines = list(hostile(evil))
    assert sum(line.count(json.dumps(evil)[1:-1].encode()) for line in lines) > 50
    for name, text in all_views(lines):
        for line in text.split("\n"):
            assert line.isprintable(), f"{name}: {line!r}"
            if name == "mermaid":
                assert MERMAID.fullmatch(line), line
        if name == "svg":
            root = ET.fromstring(text)
            assert not [each for each in root.iter() if each.tag.endswith("script")]
    assert {name for name, _ in all_views(lines)} >= set(views.NAMES)


@given(st.text(min_size=1))
def test_any_text_in_the_places_that_take_any(evil: str) -> None:
    line = json.loads(next(each for each in told.lines() if b'"event":"server"' in each))
    line["finding"] = line["virtual_server"] = evil
    end = told.lines()[-1]
    header = json.loads(told.lines()[0])
    header["hosts"] = {"10.0.1.11": evil}
    lines = [json.dumps(each).encode() + b"\n" for each in (header, line)]
    for name, text in all_views([*lines, end]):
        assert all(each.isprintable() for each in text.split("\n")), name
        if name == "svg":
            ET.fromstring(text)


DEEP = 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"before": "zz"},
        {"before": "4"},
        {"before": "45 00"},
        {"after": "é"},
        {"time": float("nan")},
        {"time": float("inf")},
        {"time": 1e300},
        {"number": 10**30},
        {"length": "7"},
        {"connection": []},
        {"sent": 5},
        {"verdict": {"a": 1}},
        {"nobody knows this key\x1b": 1},
    ],
    ids=repr,
)
def test_one_clear_line(run: Run, tmp_path: Path, change: dict[str, Any]) -> None:
    packet = json.loads(next(each for each in told.lines() if b'"event":"packet"' in each))
    text = told.lines()[0] + json.dumps({**packet, **change}).encode() + b"\n" + told.lines()[-1]
    refused(run, tmp_path, text, "line 2: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"[" * DEEP, "no recording"),
        (b'{"format":"lb-switch recording","version":1,"x":' + b"[" * DEEP + b"\n", ""),
        (b'{"format":"lb-switch recording","version":' + b"9" * 5000 + b"}\n", ""),
        (b"\xff\xfe{}\n", "no recording"),
        (told.lines()[0] + b"[" * DEEP + b"\n", "line 2: "),
        (told.lines()[0] + b"\xff\n", "line 2: "),
        (told.lines()[0].replace(b'"c1"', b"7"), "line 1: "),
    ],
    ids=["deep", "deep header", "digits", "bytes", "deep line", "no UTF-8", "wrong type"],
)
def test_no_recording_at_all(run: Run, tmp_path: Path, text: bytes, place: str) -> None:
    refused(run, tmp_path, text, place)


def refused(run: Run, folder: Path, text: bytes, place: str) -> None:
    path = folder / "rec.jsonl"
    path.write_bytes(text)
    for command in (["story"], ["diff"], ["ladder"], ["ladder", "--mermaid"]):
        result = run("explain", *command, "--from", path)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"lb-switch: {path}: {place}"), result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stderr[:-1].isprintable()
        assert "internal error" not in result.stderr
