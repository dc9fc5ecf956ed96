"""A real server's daemon dies under 200 requests a second, and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import TEXTBOOK, VirtualServer
from tests.integration.health_view import View, all_in

INTERVAL, RISE, FALL, TIMEOUT = 0.5, 2, 2, 1.0
MARGIN = 0.5
"""Seconds for a scheduler that has other work."""
RATE = 200.0
VIP = "10.0.1.100"
DYING = "web 10.0.2.11:80"

pytestmark = pytest.mark.netns


def checked(kind: Any) -> Any:
    return replace(
        TEXTBOOK,
        name=f"checked-{kind}",
        virtual_servers=(VirtualServer("web", VIP, 80, ("s1", "s2"), check=kind),),
    )


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_daemon_is_killed_and_started_again_under_traffic(
    make_lab: Callable[..., Lab], capsys: pytest.CaptureFixture[str], capture: str, kind: str
) -> None:
    lab = make_lab(topology=checked(kind), capture=capture, check_interval=INTERVAL)
    view = View(lab.control_socket)
    view.until(all_in("up"))
    program = [sys.executable, "-m", "tests.integration.health_load", VIP, "80"]
    load = lab.popen(
        "c1",
        [*program, "--rate", str(RATE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    view.until(lambda _seen: view.connections_so_far() > RATE)
    killed = time.monotonic()
    lab.kill_server("s1")
    down = view.until(lambda seen: seen[DYING].state == "down")[DYING]
    asked = view.connections_so_far()
    view.until(lambda _seen: view.connections_so_far() > asked + RATE)
    lab.start_server("s1")
    started = time.monotonic()
    up = view.until(lambda seen: seen[DYING].state == "up")[DYING]
    asked = view.connections_so_far()
    view.until(lambda _seen: view.connections_so_far() > asked + RATE)
    out, _ = load.communicate(timeout=30)

    requests = [json.loads(line) for line in out.splitlines()]
    failed = [each for each in requests if each["error"]]
    after_down = [each for each in requests if down.since < each["start"]]
    returned = min(
        each["end"] for each in requests if each["server"] == "s1" and each["start"] > started
    )
    span = requests[-1]["start"] - requests[0]["start"]
    with capsys.disabled():
        print(
            f"\n  {kind} check, {capture}: {len(requests)} requests, {len(requests) / span:.0f}/s;"
            f" down {down.since - killed:.2f} s after the kill (at most"
            f" {INTERVAL * FALL + TIMEOUT:.1f} + margin), {len(failed)} requests failed before it,"
            f" {len([e for e in after_down if e['error']])} of {len(after_down)} after it;"
            f" up {up.since - started:.2f} s and traffic {returned - started:.2f} s after the"
            f" restart (at most {INTERVAL * RISE:.1f} + margin)"
        )
    assert down.cause == "connect refused"
    assert failed, "the daemon was not missed: this test sees nothing"
    assert all(each["start"] > killed - 1.0 for each in failed)
    assert [each for each in after_down if each["error"]] == []
    assert down.since - killed < INTERVAL * FALL + TIMEOUT + MARGIN
    assert up.since - started < INTERVAL * RISE + MARGIN
    assert returned - started < INTERVAL * RISE + MARGIN
    while_down = [e for e in after_down if e["start"] < started]
    assert {each["server"] for each in while_down} == {"s2"}
    assert len(requests) / span > 0.8 * RATE
    log = (lab.directory / "switch.log").read_text()
    assert f"lb-switch: {DYING} is down: connect refused\n" in log
    finding = "status 200" if kind == "http" else "connected"
    assert f"lb-switch: {DYING} is up: {finding}\n" in log
