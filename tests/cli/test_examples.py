"""`--example`: what comes with lb-switch is what this version makes, and all commands take it."""

from __future__ import annotations

import fnmatch
import json
import tomllib
from pathlib import Path

import pytest

from lb_switch import examples
from lb_switch.config.load import load
from lb_switch.examples import __main__ as maker
from tests.cli.conftest import Run

AGAIN = "the example is old: run scripts/examples, and look at the difference"


def test_the_capture_is_what_the_maker_makes(tmp_path: Path) -> None:
    maker.make(tmp_path / "new.pcap")
    assert (tmp_path / "new.pcap").read_bytes() == examples.CAPTURE.read_bytes(), AGAIN


def test_the_recording_is_what_this_version_tells(run: Run, tmp_path: Path) -> None:
    new = tmp_path / "new.jsonl"
    assert run("replay", "--example", "--record", new).exit_code == 0
    assert new.read_bytes() == examples.RECORDING.read_bytes(), AGAIN


def test_it_is_small_and_goes_with_the_package() -> None:
    files = [
        path for path in examples.FOLDER.iterdir() if path.suffix in {".toml", ".pcap", ".jsonl"}
    ]
    assert sorted(files) == [examples.RECORDING, examples.CAPTURE, examples.CONFIG]
    assert sum(path.stat().st_size for path in files) < 64 * 1024
    root = examples.FOLDER.parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["lb_switch.examples"]
    recordings = [examples.recording(name) for name in examples.RECORDINGS]
    assert {path.parent.name for path in recordings} == {"examples", "recordings"}
    for path in (*files, *recordings):
        inside = str(path.relative_to(examples.FOLDER))
        assert any(fnmatch.fnmatch(inside, pattern) for pattern in patterns)
    assert sum(path.stat().st_size for path in recordings) < 1024 * 1024


def test_replay_shows_tcp_udp_both_versions_and_what_is_refused(run: Run) -> None:
    result = run("replay", "--example", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    *rows, summary = map(json.loads, result.stdout.splitlines())
    assert {row["virtual_server"] for row in rows} == {"web", "web6", "dns", None}
    assert {row["reason"] for row in rows} == {
        "new_connection",
        "known_connection",
        "no_virtual_server",
        "echo_to_vip",
    }
    assert [row["state"] for row in rows if row["virtual_server"] == "web6"][-1] == "CLOSE"
    assert summary["summary"]["new_connection"] == 6
    assert len(load(examples.CONFIG).virtual_server) == 3


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["replay", "--example", "--explain"], "rr chooses s2: "),
        (["replay", "--example", "--view", "ladder"], "connection 1, tcp, virtual server web"),
        (["explain", "story", "--example"], "rr chooses s2: "),
        (
            ["explain", "diff", "--example", "--packet", "1"],
            "packet 1 at 0.000000: client → server",
        ),
        (["explain", "ladder", "--example", "--connection", "1"], "connection 1, tcp, virtual"),
        (["explain", "ladder", "--example", "--mermaid"], "sequenceDiagram"),
        (["explain", "choice", "--example", "--connection", "1"], "recorded: rr chooses s1"),
        (["compare", "--example"], "web tcp 10.0.1.100:80: 3000 connections"),
    ],
)
def test_every_command_that_works_offline_takes_it(run: Run, command: list[str], line: str) -> None:
    result = run(*command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert line in result.stdout


def test_replay_shows_what_changed_alone(run: Run) -> None:
    whole = run("replay", "--example", "--view", "diff").stdout
    changed = run("replay", "--example", "--view", "diff", "--changed").stdout
    alone = run("explain", "diff", "--example", "--changed").stdout
    assert changed.partition("Packets ")[0] == alone
    assert "    source port" in whole
    assert len(changed) < len(whole) / 2


def test_outputs_of_the_example(run: Run, tmp_path: Path) -> None:
    both, picture = tmp_path / "both.pcapng", tmp_path / "ladder.svg"
    assert run("replay", "--example", "--write-pcap", both).exit_code == 0
    assert both.stat().st_size > examples.CAPTURE.stat().st_size
    command = ["explain", "ladder", "--example", "--connection", "1", "--svg", picture]
    assert run(*command).exit_code == 0
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["replay"], "Missing argument 'CONFIG' (or"),
        (["replay", "lb.toml"], "Missing argument 'IN.pcap' (or try --example)."),
        (["replay", "--example", "lb.toml"], "--example brings its own CONFIG and IN.pcap."),
        (["compare"], "Missing argument 'CONFIG' (or"),
        (["compare", "--example", "lb.toml"], "--example brings its own CONFIG."),
        (["explain", "story"], "Missing option '--from' (or try --example)."),
        (["explain", "diff", "--example", "--from", "x"], "--example brings its own recording"),
        (["explain", "ladder", "--from", "x", "--example"], "--example brings its own recording"),
        (["replay", "--example", "--changed"], "--changed goes with --view diff."),
        (["replay", "--example", "--view", "ladder", "--changed"], "--changed goes with"),
    ],
)
def test_what_is_missing_or_too_much(run: Run, command: list[str], said: str) -> None:
    result = run(*command)
    assert result.exit_code == 2
    assert said in result.stderr
