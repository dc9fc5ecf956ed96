"""`lb-switch events`: the stream of a running switch, on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from lb_switch.engine.switch import Switch
from tests.cli.conftest import Run
from tests.support.dialogue import Dialogue

COMMAND = (sys.executable, "-m", "lb_switch", "events")


def test_what_is_then_what_happens_until_ctrl_c(switch: Switch, control_socket: Path) -> None:
    Dialogue(switch).handshake()
    argv = [*COMMAND, "connections", "--socket", str(control_socket)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout is not None
        header, present, complete = (json.loads(process.stdout.readline()) for _ in range(3))
        assert (header["format"], header["snap"]) == ("lb-switch recording", 192)
        assert (present["stage"], present["state"]) == ("present", "ESTABLISHED")
        assert (complete["event"], complete["connections"]) == ("complete", 1)
        Dialogue(switch, ("10.0.1.12", 4)).client("S")
        opened = json.loads(process.stdout.readline())
        assert (opened["stage"], opened["connection"]["client"]) == ("opened", "10.0.1.12:4")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout.read() == b""


def test_its_lines_can_be_explained(switch: Switch, control_socket: Path) -> None:
    argv = [*COMMAND, "packets", "--socket", str(control_socket)]
    story = [sys.executable, "-m", "lb_switch", "explain", "story", "--from", "-"]
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE) as telling,
        subprocess.Popen(
            story, stdin=telling.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as explaining,
    ):
        assert explaining.stdout is not None
        while b"web" not in explaining.stdout.readline():
            pass
        talk = Dialogue(switch)
        talk.now = 11.0  # the switch began at 10
        talk.client("S")
        line = b"-"
        while line and b"rr chooses" not in line:
            line = explaining.stdout.readline()
        telling.send_signal(signal.SIGINT)
        assert b"rr chooses 10.0.2.11:8080: first in rotation (1 of 3 usable)" in line
        assert explaining.wait(10) == 1, "a stream has no end: it was cut off"


def test_nobody_to_ask(run: Run, tmp_path: Path) -> None:
    result = run("events", "--socket", tmp_path / "nothing")
    assert result.exit_code == 1
    assert result.stderr.startswith("lb-switch: lb-switch is not running: there is no control")


def test_a_kind_that_is_none(run: Run) -> None:
    result = run("events", "colours")
    assert result.exit_code == 2
    assert "'colours' is not one of 'connections', 'servers', 'probes', 'packets'" in result.stderr
