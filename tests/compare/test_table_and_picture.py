"""The comparison as people see it: table, sentences, picture, command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from lb_switch.compare.load import Load, synthetic
from lb_switch.compare.picture import picture
from lb_switch.compare.run import ComparedGroup
from lb_switch.compare.schedulers import Comparison, Figures, Moves, compare
from lb_switch.compare.table import as_object, sentence, table
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling.catalogue import CATALOGUE
from lb_switch.engine.switch import Settings
from lb_switch.files.pcap import create_capture
from tests.cli.conftest import Run
from tests.cli.conftest import config as config  # noqa: PLC0414 - a fixture
from tests.cli.conftest import run as run  # noqa: PLC0414
from tests.replay.recordings import framed
from tests.support.dialogue import CLIENT, VIP
from tests.support.packets import tcp

SVG = "{http://www.w3.org/2000/svg}"


def group(*weights: int, address: str = "10.0.2.{}:8080") -> ComparedGroup:
    servers = (Endpoint.parse(address.format(11 + index)) for index in range(len(weights)))
    return ComparedGroup(
        "web", Endpoint.parse("10.0.1.100:80"), TCP, tuple(zip(servers, weights, strict=True))
    )


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(synthetic(40, 400, 1), group(1, 1, 2), Settings())


def long_group() -> ComparedGroup:
    servers = tuple(
        (Endpoint.parse(f"[2001:db8:1111:2222:3333:4444:5555:{number}666]:65535"), number + 1)
        for number in range(10)
    )
    vip = Endpoint.parse("[2001:db8:1111:2222:3333:4444:5555:6666]:65535")
    return ComparedGroup("a" * 64, vip, TCP, servers)


# -- the table ---------------------------------------------------------------------------------


def test_the_table_s_numbers_are_the_figures(comparison: Comparison) -> None:
    lines = list(table(comparison))
    heads = [line for line in lines if line.endswith("mh")]
    assert all(line.split()[-6:] == list(CATALOGUE) for line in heads)
    assert len(heads) == 2

    def row(label: str) -> list[str]:
        (line,) = (line for line in lines if line.startswith(f"  {label}"))
        return line.split()[-6:]

    every = comparison.figures
    for index in range(3):
        rip = f"10.0.2.{11 + index}:8080"
        weight = comparison.group.real_servers[index][1]
        assert row(f"{rip}  w {weight}") == [f"{100 * f.shares[index]:.1f}" for f in every]
        assert row(f"{rip}  mean") == [f"{f.active_mean[index]:.1f}" for f in every]
    assert row("spread*, mean") == [f"{f.spread_mean:.1f}" for f in every]
    assert row("spread*, most") == [f"{f.spread_most:.1f}" for f in every]
    moves = [figures.moves for figures in every]
    assert row("that must move") == [f"{100 * m.must:.1f}" for m in moves if m]
    assert row("that move beyond") == [f"{100 * (m.moved - m.must):.1f}" for m in moves if m]
    assert row("that move if nobody") == [f"{100 * m.anyway:.1f}" for m in moves if m]
    assert "refused" not in "\n".join(lines)


def test_eighty_columns_whatever_the_names() -> None:
    wide = compare(synthetic(100, 2000, 1, version=6), long_group(), Settings())
    for line in table(wide):
        assert len(line) <= 80, line


def test_refused_connections_are_told() -> None:
    full = compare(synthetic(10, 200, 1), group(1, 1), Settings(max_connections=5))
    (line,) = (line for line in table(full) if "refused" in line)
    assert line.split()[-6:] == [str(figures.refused) for figures in full.figures]
    assert int(line.split()[-1]) > 0


def test_one_real_server_has_nowhere_to_move() -> None:
    alone = compare(synthetic(10, 50, 1), group(1), Settings())
    text = "\n".join(table(alone))
    assert "leaves" not in text
    assert "leaves" not in picture(alone)


def test_numbers_as_json(comparison: Comparison) -> None:
    told = json.loads(json.dumps(as_object(comparison)))
    assert list(told["schedulers"]) == list(CATALOGUE)
    assert told["leaver"] == "10.0.2.13:8080"
    assert told["load"]["connections"] == 400
    for figures in comparison.figures:
        own = told["schedulers"][figures.scheduler]
        assert sum(own["connections"]) == 400
        assert figures.moves is not None
        assert own["moves"]["beyond"] == figures.moves.beyond


# -- the sentences: from the numbers, whatever the scheduler -------------------------------------


def figures_of(name: str, connections: tuple[int, ...], spread: float, moves: Moves) -> Figures:
    zeros = tuple(0 for _ in connections)
    return Figures(name, connections, 0, ((0.0, zeros),), (0.0,) * len(zeros), spread, 9.0, moves)


def said(own: Figures, other: Figures, *weights: int) -> str:
    load = Load(synthetic(3, 9, 1).arrivals, 60.0, "test")
    return sentence(own, Comparison(load, group(*weights), len(weights) - 1, (own, other)))


FAITHFUL, FICKLE = Moves(50, 0.3, 0.3, 0.0), Moves(50, 0.7, 0.3, 0.6)
OTHER = figures_of("rival", (50, 50), 2.0, FICKLE)


def test_sentences_follow_the_numbers() -> None:
    assert said(figures_of("x", (51, 50), 1.0, FAITHFUL), OTHER, 1, 1) == (
        "Gives each real server its weight's share, to within 0.5 points; no other keeps active"
        " connections closer together (1.0 apart on average); every client keeps its real server,"
        " and when 10.0.2.12:8080 leaves only its own move."
    )
    assert said(figures_of("x", (50, 50), 5.0, FICKLE), OTHER, 1, 3).replace("\xa0", " ") == (
        "Treats all alike, whatever their weight: 10.0.2.11:8080 gets 50.0 % where its weight says"
        " 25.0 %; active connections lie 5.0 apart on average, 2.5 times as far as with rival;"
        " a client that comes back meets another real server in 60.0 % of all cases though nobody"
        " left."
    )
    some = replace(FAITHFUL, moved=0.45)
    assert said(figures_of("x", (70, 30), 5.0, some), OTHER, 1, 1).replace("\xa0", " ") == (
        "Misses the weights' shares by up to 20.0 points: 10.0.2.11:8080 gets 70.0 % where its"
        " weight says 50.0 %; active connections lie 5.0 apart on average, 2.5 times as far as"
        " with rival; every client keeps its real server until 10.0.2.12:8080 leaves: then 30.0 %"
        " must move, and 15.0 % more do."
    )


def test_a_server_without_weight_is_no_reason_to_speak_of_weights() -> None:
    text = said(figures_of("x", (80, 20, 0), 1.0, FAITHFUL), OTHER, 1, 1, 0)
    assert text.startswith("Misses the weights' shares by up to 30.0 points")


# -- the picture -------------------------------------------------------------------------------


def panels(svg: str) -> dict[str, ET.Element]:
    found = {}
    for panel in ET.fromstring(svg).iter(f"{SVG}g"):
        titles = [text for text in panel.iter(f"{SVG}text") if text.get("class") == "title"]
        if titles:
            found[str(titles[0].text)] = panel
    return found


def test_one_panel_for_each_scheduler_on_common_scales(comparison: Comparison) -> None:
    drawn = panels(picture(comparison))
    assert list(drawn) == list(CATALOGUE)
    ratios = []
    for figures in comparison.figures:
        panel = drawn[figures.scheduler]
        bars = [
            float(rect.get("width", ""))
            for rect in panel.iter(f"{SVG}rect")
            if re.fullmatch(r"f\d", rect.get("class", ""))
        ]
        assert len(bars) == 3
        ratios += [bar / share for bar, share in zip(bars, figures.shares, strict=True)]
        lines = list(panel.iter(f"{SVG}polyline"))
        assert len(lines) == 3
        for line, mean in zip(lines, figures.active_mean, strict=True):
            heights = [float(p.split(",")[1]) for p in line.get("points", "").split()]
            # The curve's mean is the figures' mean: both are areas over time.
            grid = [
                float(re.findall(r"M\d+ ([\d.]+)H", path.get("d", ""))[0])
                for path in panel.iter(f"{SVG}path")
                if path.get("class") == "grid"
            ]
            top = max(
                float(text.text or "")
                for text in panel.iter(f"{SVG}text")
                if text.get("class") == "small end" and (text.text or "").isdigit()
            )
            values = [(grid[0] - y) / (grid[0] - grid[-1]) * top for y in heights]
            assert sum(values) / len(values) == pytest.approx(mean, abs=0.1)
    assert max(ratios) == pytest.approx(min(ratios), rel=0.01)


def test_the_legend_has_every_mark_of_the_panels(comparison: Comparison) -> None:
    root = ET.fromstring(picture(comparison))
    drawn = panels(picture(comparison)).values()
    legend, meanings = [], []
    for row in root.findall(f"{SVG}g")[: -len(drawn)]:
        legend += [mark.get("class") for group in row.iter(f"{SVG}g") for mark in group]
        meanings += [text.text for text in row.findall(f"{SVG}text")]
    marks = {
        element.get("class") for panel in drawn for element in panel.iter() if _is_mark(element)
    }
    names = [f"10.0.2.{number}:8080" for number in (11, 12, 13)]
    assert marks == {"f0", "f1", "f2", "tick"}
    assert [kind for kind in legend if kind in marks] == ["f0", "f1", "f2", "tick"]
    assert meanings == [
        *(f"{name}  weight {weight}" for name, weight in zip(names, (1, 1, 2), strict=True)),
        "share that the weight calls for",
    ]


def _is_mark(element: ET.Element) -> bool:
    return re.fullmatch(r"f\d|tick", element.get("class", "")) is not None


@pytest.mark.parametrize("wide", [False, True])
def test_no_text_leaves_its_panel_or_lies_on_another(comparison: Comparison, wide: bool) -> None:
    if wide:
        comparison = compare(synthetic(50, 500, 1, version=6), long_group(), Settings())
    svg = picture(comparison)
    for text in ET.fromstring(svg).findall(f"{SVG}text"):
        assert 0.62 * 11 * len(text.text or "") <= 960 - 24, text.text
    for panel in panels(svg).values():
        (frame,) = (rect for rect in panel.iter(f"{SVG}rect") if rect.get("class") == "panel")
        right, bottom = float(frame.get("width", "")), float(frame.get("height", ""))
        boxes = []
        for text in panel.iter(f"{SVG}text"):
            # A generous 0.62 em for each character: wider than any usual sans-serif font.
            kind = text.get("class", "")
            size = 15 if "title" in kind else 11 if "small" in kind else 12
            width = 0.62 * size * len(text.text or "")
            x, y = float(text.get("x", "")), float(text.get("y", ""))
            left = x - width if "end" in kind else x
            boxes.append((left, left + width, y - size, y, text.text))
            assert left >= 0, text.text
            assert left + width <= right, text.text
            assert 0 < y < bottom, text.text
        for number, (left, end, top, base, text_) in enumerate(boxes):
            for other_left, other_end, other_top, other_base, other in boxes[:number]:
                beside = end <= other_left or other_end <= left
                above = base <= other_top or other_base <= top
                assert beside or above, (text_, other)


def test_it_has_colours_for_light_and_dark_ground_and_a_title(comparison: Comparison) -> None:
    svg = picture(comparison)
    root = ET.fromstring(svg)
    style = root.findtext(f"{SVG}style") or ""
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for part in (light, dark):
        assert set(re.findall(r"\.f(\d)", part)) == set("01234567")
        assert ".ground" in part
    assert "400 connections" in (root.findtext(f"{SVG}title") or "")


def test_names_cannot_break_the_picture() -> None:
    odd = replace(group(1, 1), name='<&">')
    ET.fromstring(picture(compare(synthetic(5, 20, 1), odd, Settings())))


# -- the command -------------------------------------------------------------------------------


def test_two_runs_are_equal_and_weights_count(run: Run, config: Path) -> None:
    arguments = ("compare", config, "--clients", 10, "--connections", 100)
    first = run(*arguments)
    assert (first.exit_code, first.stderr) == (0, "")
    assert run(*arguments, "--synthetic").stdout == first.stdout
    assert run(*arguments, "--seed", 2).stdout != first.stdout
    told = json.loads(run(*arguments, "--weights", "1,4", "--json").stdout)
    assert told["schedulers"]["wrr"]["connections"] == [20, 80]


def test_piped_without_colour_in_eighty_columns(config: Path) -> None:
    for extra in ({}, {"NO_COLOR": "1", "COLUMNS": "200"}):
        done = subprocess.run(
            [sys.executable, "-m", "lb_switch", "compare", str(config), "--connections", "60"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **extra},
            timeout=60,
        )
        assert "\x1b" not in done.stdout
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
        assert done.stderr == ""


def test_a_recording(run: Run, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    with create_capture(path) as out:
        for number in range(8):
            place = (f"10.0.1.{11 + number % 2}", 40000 + number)
            out.write(framed("ethernet", tcp(place, VIP, "S"), 100 + number))
            out.write(framed("ethernet", tcp(place, VIP, "FA"), 100.5 + number))
    told = json.loads(run("compare", config, path, "--json").stdout)
    assert told["load"] == {
        "about": "in.pcap",
        "connections": 8,
        "clients": 2,
        "seconds": pytest.approx(7.5),
    }
    assert told["schedulers"]["rr"]["connections"] == [4, 4]
    assert told["schedulers"]["rr"]["active_mean"] == [pytest.approx(2 / 7.5)] * 2


def test_the_picture_is_written(run: Run, config: Path, tmp_path: Path) -> None:
    target = tmp_path / "schedulers.svg"
    assert run("compare", config, "--connections", 50, "--svg", target).exit_code == 0
    assert len(panels(target.read_text())) == len(CATALOGUE)
    result = run("compare", config, "--connections", 50, "--svg", tmp_path / "no" / "x.svg")
    assert (result.exit_code, result.stderr) == (
        1,
        f"lb-switch: {tmp_path}/no/x.svg: No such file or directory\n",
    )


@pytest.fixture
def damaged(tmp_path: Path) -> dict[str, Path]:
    """Files that hold no load, by what is wrong with them."""
    files = {name: tmp_path / f"{name}.pcap" for name in ("text", "empty", "stray", "cut", "none")}
    files["text"].write_text("not a capture")
    with create_capture(files["empty"]):
        pass
    with create_capture(files["stray"]) as out:
        out.write(framed("ethernet", tcp(CLIENT, ("10.0.9.9", 80), "S")))
    with create_capture(files["cut"]) as out:
        out.write(framed("ethernet", tcp(CLIENT, VIP, "S")))
    files["cut"].write_bytes(files["cut"].read_bytes()[:-3])
    return files


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none", "No such file or directory"),
        ("text", "is not a pcap or pcapng file"),
        ("empty", "no connection to web 10.0.1.100:80 begins in it"),
        ("stray", "no connection to web 10.0.1.100:80 begins in it"),
        ("cut", "ends in the middle of packet 1"),
    ],
)
def test_a_wrong_recording_is_one_clear_line(
    run: Run, config: Path, damaged: dict[str, Path], name: str, line: str
) -> None:
    result = run("compare", config, damaged[name])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"lb-switch: {damaged[name]}: {line}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("in.pcap", "--seed", "3"), "--seed is not for a recording."),
        (("in.pcap", "--synthetic"), "--synthetic is not for a recording."),
        (("--virtual-server", "mail"), "No virtual server 'mail' (there is: web)."),
        (
            ("--weights", "1,x"),
            "web takes 2 --weights up to 65535: not '1,x'.",
        ),
        (
            ("--leaves", "10.9.9.9:1"),
            "--leaves 10.9.9.9:1: web has 10.0.2.11:8080, 10.0.2.12:8080.",
        ),
    ],
)
def test_bad_usage_is_one_clear_line(
    run: Run, config: Path, arguments: tuple[str, ...], line: str
) -> None:
    result = run("compare", config, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"lb-switch: {line} (lb-switch compare -h)\n"


def test_no_weight_at_all(run: Run, config: Path) -> None:
    result = run("compare", config, "--weights", "0,0")
    assert (result.exit_code, result.stderr) == (
        1,
        "lb-switch: web: no real server with a weight above 0\n",
    )
