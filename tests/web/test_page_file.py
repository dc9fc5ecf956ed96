"""The page as one file, in a real browser, with the network off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from lb_switch import examples
from lb_switch.explain.dissect import dissect
from lb_switch.explain.rungs import Rungs
from lb_switch.stream.picture import Picture
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import Header, PacketRecord, Record
from lb_switch.web import details, single_file
from tests.support.browser import SIZES, OpenPage, accessibility_faults, moment

BAD = "<img src=x onerror=alert(1)></script><script>alert('x')</script>\"&'\x1b[31m" + "a" * 10_000

OpenFile = Callable[..., Page]


def read(name: str) -> tuple[Header, list[Record]]:
    with examples.recording(name).open("rb") as file:
        recording = Recording(file, name)
        return recording.header, list(recording)


@pytest.fixture
def open_file(open_page: OpenPage, tmp_path: Path) -> OpenFile:
    def open_it(name: str = "example", hash_: str = "", **options: Any) -> Page:
        path = tmp_path / f"{name}.html"
        path.write_text(single_file.build(*read(name), name), encoding="utf-8")
        page = open_page(f"{path.as_uri()}{hash_}", offline=True, **options)
        expect(page.locator("#status")).to_have_text("a recording")
        return page

    return open_it


def packets_of(records: list[Record]) -> list[PacketRecord]:
    return [each for each in records if isinstance(each, PacketRecord)]


# -- what it shows is what `explain` says ----------------------------------------------------------


@pytest.mark.parametrize("name", ["example", "one-arm", "path-mtu"])
def test_every_field_of_every_packet_is_that_of_explain(open_file: OpenFile, name: str) -> None:
    _, records = read(name)
    page = open_file(name)
    for record in packets_of(records)[:40]:
        page.evaluate(f"location.hash = 'packet={record.number}'")
        expect(page.locator("#panel h2")).to_have_text(f"Packet {record.number}")
        rows = page.locator("#panel table.fields tbody tr")
        shown = rows.evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        before, after = dissect(record.bytes_before), dissect(record.bytes_after)
        fields = [
            (one, other)
            for old, new in zip(before, after, strict=True)
            for one, other in zip(old.fields, new.fields, strict=True)
        ]
        assert [row[:2] for row in shown] == [[one.name, one.text] for one, _ in fields]
        if record.after is None:
            continue
        for row, (one, other) in zip(shown, fields, strict=True):
            if one.text == other.text:
                assert row[2:] == ["=", ""]
            else:
                assert row[2] == "≠"
                assert row[3].startswith(other.text)
        text = page.locator("#panel").inner_text()
        assert ("time to live" in text) == ("(the switch is one hop)" in text) or "IPv6" in text


def test_the_list_has_every_packet_of_the_ladder(open_file: OpenFile) -> None:
    header, records = read("transfer")
    drawer = Rungs(header)
    expected = [
        str(record.number)
        for record in records
        for rung in drawer.of(record)
        if isinstance(record, PacketRecord) and rung.has_legs and not rung.note
    ]
    page = open_file("transfer")
    moment(page, 1)
    lines = page.locator("#packets button")
    expect(lines).to_have_count(min(60, len(expected)))
    shown = lines.evaluate_all("lines => lines.map(line => line.dataset.packet)")
    assert shown == expected[::-1][:60]


def test_servers_stand_as_the_recording_ends(open_file: OpenFile) -> None:
    for name in ("failover", "example"):
        header, records = read(name)
        picture = Picture(header)
        for record in records:
            picture.learn(record)
        page = open_file(name)
        moment(page, 1)
        for group in picture.rows():
            for server in group["real_servers"]:
                state = "up" if server["healthy"] else "down"
                box = page.get_by_role("button").and_(
                    page.get_by_label(
                        re.compile(
                            rf"{re.escape(server['address'])}, {state}, weight {server['weight']}, "
                            rf"{server['active']} active connections$"
                        )
                    )
                )
                expect(box.first).to_be_visible()


def test_a_connection_with_its_states_and_story(open_file: OpenFile) -> None:
    header, records = read("transfer")
    known = details.of_connection(header, records, 1)
    assert known is not None
    page = open_file("transfer", "#connection=1")
    expect(page.locator("#panel h2")).to_have_text("Connection 1")
    states = [each["state"] for each in known["states"]]
    assert page.locator(".way li").all_inner_texts() == states
    expect(page.locator("#panel")).to_contain_text(known["said"])
    for picture in page.locator("#panel img").all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 300
    page.get_by_text("Its story").click()
    assert page.locator("#panel pre").inner_text().split() == " ".join(known["story"]).split()


# -- time ------------------------------------------------------------------------------------------


def tokens(page: Page) -> list[tuple[str, list[str]]]:
    """The tokens that are on the picture: class, and lines."""
    return [
        (each[0], [line for line in each[1] if line])
        for each in page.locator("svg .token").evaluate_all(
            "all => all.map(one => [one.getAttribute('class'),"
            " [...one.querySelectorAll('text')].map(text => text.textContent)])"
        )
    ]


def told(page: Page, what: str, steps: int = 300) -> list[list[str]]:
    """The lines of the tokens that say `what`, each once, in the order of time."""
    page.get_by_role("button", name="Hold").click()
    seen: list[list[str]] = []
    for step in range(steps):
        moment(page, step / 1000)
        page.evaluate("new Promise(resolve => requestAnimationFrame(() => resolve(0)))")
        seen += [lines for _, lines in tokens(page) if lines[0] == what and lines not in seen]
    return seen


def test_the_address_changes_in_the_switch(open_file: OpenFile) -> None:
    assert told(open_file("transfer"), "SYN", 100)[:3] == [
        ["SYN", "to 10.0.1.100:80"],
        ["SYN", "to 10.0.1.100:80", "→ to 10.0.2.11:80"],
        ["SYN", "to 10.0.2.11:80"],
    ]


def test_full_nat_changes_both_ends(open_file: OpenFile) -> None:
    left, inside, right = told(open_file("one-arm"), "SYN", 100)[:3]
    source = right[2]
    assert source.startswith("from 10.0.1.200:")
    assert left[:2] == ["SYN", "to 10.0.1.100:80"]
    assert left[2].startswith("from 10.0.1.11:")
    assert inside == ["SYN", "to 10.0.1.100:80", "→ to 10.0.1.21:80", f"→ {source}"]
    assert right == ["SYN", "to 10.0.1.21:80", source]


def test_hold_step_scrub_and_speed(open_file: OpenFile) -> None:
    page = open_file("transfer")
    slider = page.get_by_label("moment that is shown")
    page.get_by_role("button", name="Hold").click()
    moment(page, 0)
    for number in range(1, 6):
        page.keyboard.press("ArrowRight")
        expect(page.locator("#panel h2")).to_have_text(f"Packet {number}")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#panel h2")).to_have_text("Packet 4")
    page.wait_for_timeout(600)
    held = slider.get_attribute("aria-valuetext")
    page.wait_for_timeout(600)
    assert slider.get_attribute("aria-valuetext") == held
    page.keyboard.press("+")
    expect(page.locator("output")).to_have_text(re.compile("^2.$"))
    page.keyboard.press("-")
    page.keyboard.press("-")
    expect(page.locator("output")).to_have_text(re.compile(r"^0\.5.$"))
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Hold")).to_be_visible()
    page.wait_for_timeout(600)
    assert slider.get_attribute("aria-valuetext") != held


def test_a_server_turns_red_and_comes_back(open_file: OpenFile) -> None:
    page = open_file("failover")
    page.get_by_role("button", name="Hold").click()
    states: list[str] = []
    for step in range(101):
        moment(page, step / 100)
        page.wait_for_timeout(25)
        state = page.locator("svg [role=button]", has_text="10.0.2.12:80").text_content() or ""
        word = next(each for each in ("up", "down") if each in state)
        if not states or states[-1] != word:
            states.append(word)
    assert states == ["up", "down", "up"]
    expect(page.locator("#news li")).to_have_count(2)


def test_follow_one_connection(open_file: OpenFile) -> None:
    page = open_file("transfer", "#connection=2")
    page.get_by_role("button", name="Follow it alone").click()
    moment(page, 1)
    own = json.loads(json.dumps(details.of_connection(*read("transfer"), 2)))["packets"]
    lines = page.locator("#packets button")
    expect(lines).to_have_count(len(own))
    page.get_by_role("button", name="Show all connections").click()
    expect(lines).not_to_have_count(len(own))


def test_without_motion_a_packet_stands_still(open_file: OpenFile) -> None:
    page = open_file("transfer", reduced_motion="reduce")
    places = set()
    for _ in range(40):
        found = page.locator("svg .token").evaluate_all(
            "all => all.map(one => [one.textContent, one.getAttribute('transform')])"
        )
        places |= {place for text, place in found if text.startswith("SYNto")}
        page.wait_for_timeout(30)
    assert 2 <= len(places) <= 3, "left, in the switch, right"


def test_a_presentation_shows_one_thing_large(open_file: OpenFile) -> None:
    page = open_file("one-arm")
    boxes = page.locator("svg .box")
    expect(boxes).to_have_count(2 + 18)
    page.keyboard.press("p")
    expect(boxes).to_have_count(2 + 3)
    expect(page.locator("#lower")).to_be_hidden()
    expect(page.locator("#caption")).to_contain_text("SYN")
    size = page.locator("#caption").evaluate("each => parseFloat(getComputedStyle(each).fontSize)")
    assert size >= 24
    page.keyboard.press("p")
    expect(page.locator("#lower")).to_be_visible()


# -- people ----------------------------------------------------------------------------------------


def test_everything_by_keyboard(open_file: OpenFile) -> None:
    page = open_file("transfer")
    moment(page, 1)
    reached: dict[str, int] = {}
    for _ in range(60):
        page.keyboard.press("Tab")
        label = page.evaluate(
            "(each => each.getAttribute('aria-label') || each.textContent)(document.activeElement)"
        )
        reached.setdefault(label[:40], len(reached))
        if label.startswith("s1 10.0.2.11:80"):
            page.keyboard.press("Enter")
            expect(page.locator("#panel h2")).to_have_text("s1 10.0.2.11:80")
            break
    else:
        pytest.fail(f"no way to the server: {list(reached)}")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    names = " ".join(reached)
    for each in ("Hold", "Slower", "Faster", "moment that is shown", "Present", "client c1"):
        assert each in names


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_accessibility(open_file: OpenFile, size: str, scheme: str) -> None:
    page = open_file("failover", "#packet=1", size=size, color_scheme=scheme)
    expect(page.locator("#panel h2")).to_have_text("Packet 1")
    page.keyboard.press(" ")
    moment(page, 0.5)
    assert accessibility_faults(page) == []
    page.evaluate("location.hash = 'connection=1'")
    expect(page.locator("#panel h2")).to_have_text("Connection 1")
    assert accessibility_faults(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    page.wait_for_timeout(200)
    assert accessibility_faults(page) == []
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page itself never scrolls sideways"


def test_what_comes_from_outside_stays_text(open_page: OpenPage, tmp_path: Path) -> None:
    lines = examples.recording("failover").read_bytes().splitlines(keepends=True)
    head = json.loads(lines[0])
    head["hosts"] = dict.fromkeys(head["hosts"], BAD)
    for group in head["virtual_servers"]:
        group["name"] = BAD
    others = [line.replace(b'"web"', json.dumps(BAD).encode()) for line in lines[1:]]
    recording = Recording([json.dumps(head).encode() + b"\n", *others], "rec")
    path = tmp_path / "bad.html"
    path.write_text(single_file.build(recording.header, list(recording), BAD), encoding="utf-8")
    page = open_page(f"{path.as_uri()}#packet=1", offline=True)
    expect(page.locator("#panel h2")).to_have_text("Packet 1")
    page.keyboard.press(" ")
    moment(page, 1)
    page.wait_for_timeout(300)
    page.evaluate("location.hash = 'connection=1'")
    expect(page.locator("#panel h2")).to_have_text("Connection 1")
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert "<img src=x" in (page.locator("#stage svg").text_content() or "")
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
