"""A recording as one HTML file: it holds all, loads nothing, and runs only what it should."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from lb_switch import examples
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import Header, PacketRecord, Record
from lb_switch.web import single_file
from tests.web.test_scene import example

BAD = "</script><script>alert('x')</script>\"&'"


class Parts(HTMLParser):
    """Takes a page apart: its elements with their attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))
        self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


def build(header: Header, records: list[Record], title: str = "rec.jsonl") -> Parts:
    return Parts(single_file.build(header, records, title))


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_it_loads_nothing_and_runs_its_own_script_alone() -> None:
    page = build(*example())
    sources = [
        attributes[name]
        for _, attributes, _ in page.found
        for name in ("src", "href")
        if name in attributes
    ]
    assert sources == ["data:,"]
    (policy,) = (
        str(attributes["content"])
        for attributes, _ in page.of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    data, script = page.of("script")
    ((_, style),) = page.of("style")
    assert data[0] == {"type": "application/json", "id": "recording"}
    assert policy.startswith(
        f"default-src 'none'; script-src {hashed(script[1])}; style-src {hashed(style)};"
    )
    assert "unsafe" not in policy
    assert not re.search(r"^\s*(import|export) ", script[1], re.MULTILINE)


def test_it_holds_every_packet_and_connection() -> None:
    header, records = example()
    kept = json.loads(build(header, records).of("script")[0][1])
    numbers = [str(each.number) for each in records if isinstance(each, PacketRecord)]
    assert list(kept["packets"]) == numbers
    told = [each["number"] for each in kept["messages"] if each["kind"] == "packet"]
    assert [str(number) for number in told] == numbers
    assert set(kept["connections"]) == set(kept["ladders"])
    assert kept["messages"][0]["kind"] == "begin"


def test_what_comes_from_outside_stays_text() -> None:
    lines = examples.RECORDING.read_bytes().splitlines(keepends=True)
    head = json.loads(lines[0])
    head["hosts"] = dict.fromkeys(head["hosts"], BAD)
    recording = Recording([json.dumps(head).encode() + b"\n", *lines[1:]], "rec")
    page = build(recording.header, list(recording), BAD)
    assert len(page.of("script")) == 2
    assert page.of("title")[0][1] == f"lb-switch: {BAD}"
    assert BAD in json.loads(page.of("script")[0][1])["messages"][1]["hosts"].values()


def test_too_many_packets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file, "MOST_PACKETS", 5)
    with pytest.raises(single_file.TooLongError, match="too many for one page, which holds 5"):
        build(*example())
