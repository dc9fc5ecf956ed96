"""The probe process of a running switch: it may die, and it never outlives the switch."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

import pytest

from tests.integration.health_bed import accepting, running
from tests.integration.health_view import View
from tests.support.rig import SERVERS, VIP, built

pytestmark = pytest.mark.netns

CONFIG = f"""
[[virtual_server]]
name = "web"
address = "{VIP}:80"
  [virtual_server.health_check]
  kind = "tcp"
  interval = 0.1
  [[virtual_server.real_server]]
  address = "{SERVERS[0]}:8080"
  [[virtual_server.real_server]]
  address = "{SERVERS[1]}:9"
"""
STATES = ["up", "down"]


def states(view: View) -> list[str]:
    return [each.state for each in view.health().values()]


def test_when_it_is_killed_health_stands_and_it_comes_back(tmp_path: Path) -> None:
    with built(tmp_path) as rig, contextlib.ExitStack() as stack:
        listener = stack.enter_context(rig.listen(SERVERS[0]))
        stack.enter_context(accepting(listener))
        view = stack.enter_context(running(rig, CONFIG, "tun"))
        view.until(lambda _seen: states(view) == STATES)
        first = view.probes()
        assert (first["state"], first["restarts"]) == ("running", 0)
        os.kill(first["pid"], signal.SIGKILL)
        view.until(lambda _seen: view.probes()["trouble"] == "ended (SIGKILL)")
        assert states(view) == STATES
        with rig.connect():
            pass
        view.until(lambda _seen: view.probes()["state"] == "running")
        assert view.probes()["pid"] != first["pid"]
        assert states(view) == STATES
        # It probes again: what changes now is noticed.
        second = stack.enter_context(rig.listen(SERVERS[1], 9))
        stack.enter_context(accepting(second))
        view.until(lambda _seen: states(view) == ["up", "up"])
        errors = (tmp_path / "run.stderr").read_text().splitlines()
        assert errors == [
            (
                "lb-switch: health checks: the probe process ended (SIGKILL);"
                " the last known health stands, it is started again at once"
            ),
            "lb-switch: health checks: the probe process runs again",
        ]


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_it_never_outlives_the_switch(tmp_path: Path, how: str) -> None:
    expected = 0 if how == "ended" else -signal.SIGKILL
    with built(tmp_path) as rig, contextlib.ExitStack() as stack:
        with running(rig, CONFIG, "nfqueue", ends_with=expected) as view:
            view.until(lambda _seen: view.probes()["state"] == "running")
            pidfd = os.pidfd_open(view.probes()["pid"])
            stack.callback(os.close, pidfd)
            if how == "killed":
                os.kill(view.stats()["pid"], signal.SIGKILL)
        assert select.select([pidfd], [], [], 10.0)[0]
        assert (tmp_path / "run.stderr").read_text() == ""
