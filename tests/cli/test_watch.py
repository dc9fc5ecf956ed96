"""`--watch`: again and again, in place or appended, also over a restart of the switch."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from lb_switch.cli import watch
from lb_switch.engine.changes import SetHealth
from lb_switch.engine.switch import Switch
from tests.cli.conftest import Run
from tests.support.dialogue import Dialogue

SHOW = [sys.executable, "-m", "lb_switch", "show"]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(control_socket: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [*SHOW, *arguments, "--socket", str(control_socket)]
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def test_piped_it_appends_and_ctrl_c_ends_it_well(start: Start, switch: Switch) -> None:
    process = start("--watch", "0.1")
    first = [output(process).readline() for _ in range(7)]
    assert first[2] == "TCP  10.0.1.100:80 rr\n"
    Dialogue(switch).handshake()
    seen = iter(output(process).readline, "")
    assert any(line.split()[-2:] == ["1", "0"] for line in seen), "the new connection is shown"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_connections_are_told_of_and_not_looked_for(start: Start, switch: Switch) -> None:
    """One that came and went between two looks is seen all the same."""
    Dialogue(switch).handshake()
    process = start("connections", "--watch", "0.5", "--recent", "60", "--client", "10.0.1.12")
    for line in iter(output(process).readline, ""):
        if line.startswith("age"):
            break
    talk = Dialogue(switch, ("10.0.1.12", 7))
    talk.handshake()
    talk.client("R")
    switch.handle_timers(100.0)
    seen = iter(output(process).readline, "")
    line = next(line for line in seen if "10.0.1.12:7" in line)
    assert line.split()[2:5] == ["TCP", "(CLOSE)", "10.0.1.12:7"]
    assert not any("10.0.1.11" in line for line in [line, output(process).readline()])


def test_watching_the_connections_of_an_unknown_host(start: Start) -> None:
    process = start("connections", "--watch", "0.1", "--client", "nobody")
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "lb-switch: there is no host 'nobody': the table hosts names none (waiting for it)\n"
    )


def test_the_watched_table_is_the_one_of_show(run: Run, start: Start, switch: Switch) -> None:
    for port in (40001, 40002, 40003):
        Dialogue(switch, ("10.0.1.11", port)).handshake()
    (s1, *_) = switch.virtual_servers["web"].real_servers
    switch.change(SetHealth(s1, False, "timeout"), 1.0)
    process = start("--watch", "0.1")
    lines = [output(process).readline() for _ in range(10)]
    shown = run("show", "--socket", process.args[-1]).stdout  # type: ignore[index]
    assert "".join(lines) == shown
    assert "down" in shown


@pytest.mark.parametrize("what", ["virtual_servers", "connections", "stats"])
def test_piped_json_is_one_document_a_line(start: Start, switch: Switch, what: str) -> None:
    for port in (40001, 40002):
        Dialogue(switch, ("10.0.1.11", port)).handshake()
    process = start(what, "--json", "--watch=0.1")
    documents = [json.loads(output(process).readline()) for _ in range(2)]
    assert all(documents)


def test_on_a_terminal_it_refreshes_in_place(start: Start) -> None:
    master, slave = pty.openpty()
    try:
        process = start("--watch", "0.1", stdout=slave)
        data = ""
        deadline = time.monotonic() + 20
        while data.count("\x1b[H") < 3 and time.monotonic() < deadline:
            if select.select([master], [], [], 0.5)[0]:
                data += os.read(master, 65536).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        os.close(slave)
        os.close(master)
    assert data.count("\x1b[2J") == 1
    assert data.count("\x1b[H") >= 3
    assert "every 0.1 s" in data


def test_a_frame_higher_than_the_terminal_says_what_it_hides(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "10")
    watch.Terminal().show("title", "", [f"line {n:<30}|" for n in range(50)])
    shown = capsys.readouterr().out
    assert shown.count("\n") == 9
    assert "... 44 more lines" in shown
    assert "|" not in shown


def test_news_stay_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = watch.Terminal()
    terminal.show("title", "restarted", ["a"])
    capsys.readouterr()
    terminal.show("title", "", ["b"])
    assert "restarted" in capsys.readouterr().out


def test_a_restart_is_said_once() -> None:
    identity = watch.SwitchIdentity()
    assert identity.news({"pid": 7}) == ""
    assert identity.gone("nobody listens") == "nobody listens (waiting for it)"
    assert identity.gone("nobody listens") == ""
    assert identity.gone("there is no control socket") == ""
    assert identity.news({"pid": 8}) == (
        "the switch was restarted (process 7, now 8): counters begin anew"
    )
    assert identity.news({"pid": 8}) == ""
    assert identity.gone("nobody listens") != ""
    assert identity.news({"pid": 8}) == "the switch answers again"


def test_it_waits_for_a_switch_that_is_not_there(tmp_path: Path) -> None:
    command = [*SHOW, "stats", "--watch", "0.1", "--socket", str(tmp_path / "none.sock")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert line.startswith("lb-switch: lb-switch is not running: there is no control socket")
    assert line.endswith("(waiting for it)\n")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "1e9"])
def test_nonsense_seconds(run: Run, control_socket: Path, value: str) -> None:
    result = run("show", f"--watch={value}", "--socket", control_socket)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_the_seconds_may_be_left_out_before_what(
    run: Run, control_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float]] = []
    monkeypatch.setattr(
        watch, "watch", lambda _c, _l, title, seconds: asked.append((title, seconds))
    )
    assert run("show", "--watch", "stats", "--socket", control_socket).exit_code == 0
    assert run("show", "stats", "--watch", "--socket", control_socket).exit_code == 0
    assert run("show", "--watch", "3", "--socket", control_socket).exit_code == 0
    assert asked == [
        ("lb-switch show stats", 2.0),
        ("lb-switch show stats", 2.0),
        ("lb-switch show", 3.0),
    ]
