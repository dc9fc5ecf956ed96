"""`show health`: the table, the JSON, and a switch that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lb_switch.cli.health_table import duration, health
from lb_switch.control.verbs import Verbs
from lb_switch.engine.packet.protocol import TCP
from lb_switch.health.checks import HealthChecks
from tests.cli.conftest import Run, served
from tests.support.dialogue import make_switch

PROBES = {"state": "running", "pid": 7, "restarts": 0, "trouble": None}


def row(**changes: Any) -> dict[str, Any]:
    last = {"passed": True, "finding": "status 200", "seconds": 0.001, "age": 0.5}
    return {
        "virtual_server": "web",
        "address": "10.0.2.11:80",
        "state": "up",
        "seconds": 307.2,
        "cause": "status 200",
        "check": "http",
        "interval": 0.5,
        "last": last,
        "against": 0,
        "needed": 3,
        **changes,
    }


def test_the_table() -> None:
    down = {"state": "down", "cause": "connect refused", "seconds": 1.04, "against": 1}
    none = {"state": "unknown", "check": "none", "last": None, "seconds": None, "needed": None}
    lines = list(
        health(
            [
                row(),
                row(**down),
                row(state="unknown", last=None, cause=None, needed=1),
                row(**none),
            ],
            PROBES,
        )
    )
    assert lines == [
        "Virtual  RealServer    Health     For  Check      Count  Last",
        "web      10.0.2.11:80  up       5m07s  http 0.5s  0/3    status 200",
        "web      10.0.2.11:80  down      1.0s  http 0.5s  1/3",
        "    status 200 (down since: connect refused)",
        "web      10.0.2.11:80  unknown  5m07s  http 0.5s  0/1    no result yet",
        "web      10.0.2.11:80  unknown      -  none       -",
        "Probe process running, pid 7",
    ]


def test_a_long_finding_stays_within_80_columns() -> None:
    last = {"finding": "status 503, " + " or ".join(f"{n}" for n in range(200, 230))}
    lines = list(health([row(address="[2001:db8:2::11]:8080", last=last)], PROBES))
    assert max(map(len, lines)) <= 80
    assert "".join(lines).replace("      ", " ").count(" or ") == 29


@pytest.mark.parametrize(
    ("probes", "line"),
    [
        (
            {"state": "starting", "pid": 8, "restarts": 2, "trouble": "ended (SIGKILL)"},
            "Probe process starting, pid 8, restarts: 2 (it ended (SIGKILL))",
        ),
        (
            {"state": "waiting", "pid": None, "restarts": 1, "trouble": "ended (exit code 3)"},
            (
                "PROBE PROCESS NOT RUNNING (it ended (exit code 3)), restarts: 1: the last known"
                " health stands"
            ),
        ),
        (
            {"state": "stopped", "pid": None, "restarts": 0, "trouble": None},
            "No probe process: nothing is checked",
        ),
    ],
)
def test_how_the_process_does(probes: dict[str, Any], line: str) -> None:
    lines = list(health([], probes))[1:]
    assert " ".join(lines) == line
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (59.9, "59.9s"), (60, "1m00s"), (3661, "1h01m"), (90_000, "1d01h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_asking_a_switch(run: Run, tmp_path: Path) -> None:
    switch = make_switch(protocols=(TCP,))
    loop: Any = None  # nothing is checked: it is not needed
    checks = HealthChecks(switch, loop, say=print, complain=print)
    with served(tmp_path / "control.sock", Verbs(switch, 10.0, checks)) as path:
        result = run("show", "health", "--socket", path)
        as_json = run("show", "health", "--json", "--socket", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1:] == [
        "web      10.0.2.11:8080  unknown    -  none   -",
        "web      10.0.2.12:8080  unknown    -  none   -",
        "web      10.0.2.13:8080  unknown    -  none   -",
        "No probe process: nothing is checked",
    ]
    shown = json.loads(as_json.stdout)
    assert shown["probes"]["state"] == "stopped"
    assert [server["address"] for server in shown["real_servers"]] == [
        "10.0.2.11:8080",
        "10.0.2.12:8080",
        "10.0.2.13:8080",
    ]
