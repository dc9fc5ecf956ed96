"""Operators at work while real clients talk to real servers: nobody may notice."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lb_switch.control.client import ControlClient
from lb_switch.engine.connections.tcp_state import ACTIVE
from netns_lab import readiness
from netns_lab.lab import Lab
from netns_lab.programs import environment, lb_switch
from netns_lab.topologies import SWITCH
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

VIP = "10.0.1.100"
WEB = f"{VIP}:80"
S1, S2 = "10.0.2.11:80", "10.0.2.12:80"
ACTIVE_STATES = {state.name for state in ACTIVE}
MANY = 1000

CONFIG = """
[switch]
control_socket = "{socket}"
capture = "{capture}"
{more}

[[virtual_server]]
name = "web"
address = "10.0.1.100:80"
scheduler = "{scheduler}"

  [[virtual_server.real_server]]
  address = "10.0.2.11:80"
  weight = {weight}

  [[virtual_server.real_server]]
  address = "10.0.2.12:80"
"""


class Operated:
    """A lab's switch, started as an operator would, its books audited."""

    def __init__(self, lab: Lab, capture: str) -> None:
        self.lab = lab
        self.capture = capture
        self.path = lab.directory / "operated.toml"
        self.log = lab.directory / "operated.log"
        self.configure()
        self.process = self.start()

    def configure(self, scheduler: str = "rr", weight: int = 1, more: str = "") -> None:
        text = CONFIG.format(
            socket=self.lab.control_socket,
            capture=self.capture,
            scheduler=scheduler,
            weight=weight,
            more=more,
        )
        self.path.write_text(text)

    def start(self, before: tuple[str, ...] = (), **env: str) -> subprocess.Popen[Any]:
        argv = [*before, *lb_switch(), "run", str(self.path), "--check-invariants"]
        with self.log.open("ab") as log:
            process = self.lab.popen(
                SWITCH,
                argv,
                stdout=log,
                stderr=log,
                env={**environment(self.lab.directory), **env},
            )
        assert readiness.switch_serves(self.lab.control_socket, process, time.monotonic() + 20), (
            self.said()
        )
        return process

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.said()

    def said(self) -> str:
        return self.log.read_text()

    def ask(self, verb: str, **fields: object) -> list[str]:
        with ControlClient(self.lab.control_socket) as control:
            result: list[str] = control.ask(verb, **fields)
            return result

    def set(self, server: str, **fields: object) -> None:
        assert self.ask("set", virtual_server=WEB, real_server=server, **fields)

    def rows(self, what: str) -> list[dict[str, Any]]:
        with ControlClient(self.lab.control_socket) as control:
            return list(control.rows("show", what=what))

    def host(self) -> str:
        script = (
            "iptables-save | grep -v '^#'; ip rule; ip route show table all; ip neigh show proxy"
        )
        return self.lab.exec(SWITCH, ["sh", "-c", script]).stdout

    def assert_counters_equal_the_table(self) -> None:
        """Compare two looks; a connection may come between them, so look again."""
        for _ in range(20):
            (web,) = self.rows("virtual_servers")
            counted = {rs["address"]: rs["active"] for rs in web["real_servers"]}
            table = Counter(
                row["destination"]
                for row in self.rows("connections")
                if row["state"] in ACTIVE_STATES
            )
            if counted == {address: table[address] for address in counted}:
                return
        pytest.fail(f"the counters say {counted}, the table {dict(table)}")


@pytest.fixture(params=["tun", "nfqueue"])
def operated(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Operated:
    return Operated(make_lab(switch=False), request.param)


@contextmanager
def steady(lab: Lab, host: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """Have a client at work meanwhile; what came of it is in the dict afterwards."""
    result: dict[str, Any] = {}
    argv = [sys.executable, "-m", "tests.support.steady_client", *arguments]
    process = lab.popen(
        host, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield result
    finally:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    result.update(json.loads(output))


@pytest.mark.timeout(300)
def test_a_thousand_reloads_and_flips_that_nobody_notices(
    operated: Operated, record_property: Callable[[str, object], None]
) -> None:
    rules = operated.host()
    took: list[float] = []
    with (
        steady(operated.lab, "c1", "requests", f"http://{VIP}/", "--rate", "100") as requests,
        steady(
            operated.lab, "c2", "transfer", f"http://{VIP}/bytes/90000000", "--rate", "1000000"
        ) as transfer,
    ):
        for number in range(MANY):
            server = (S1, S2)[number // 2 % 2]
            operated.configure(weight=2 + number % 2, more=f"timeouts.udp = {100 + number}")
            start = time.monotonic()
            assert operated.ask("reload")
            took.append(time.monotonic() - start)
            operated.set(server, state=("drain", "ready")[number % 2])
            time.sleep(0.01)
        assert operated.host() == rules
        operated.assert_counters_equal_the_table()
    milliseconds = [seconds * 1000 for seconds in took]
    figures = {
        "reload, median ms": round(statistics.median(milliseconds), 2),
        "reload, slowest ms": round(max(milliseconds), 1),
        "requests": requests["requests"],
        "requests a second": round(requests["requests"] / requests["seconds"]),
        "slowest request ms": round(requests["slowest"] * 1000),
        "answers": requests["answers"],
        "transfer, seconds": round(transfer["seconds"], 1),
    }
    print(operated.capture, figures)
    for name, figure in figures.items():
        record_property(name, figure)
    assert requests["errors"] == []
    assert requests["requests"] > 0.8 * 100 * requests["seconds"]
    assert set(requests["answers"]) == {"s1", "s2"}
    assert transfer["outlasted"], "the transfer ended before the changes did"
    assert transfer["identical"]
    operated.assert_counters_equal_the_table()
    operated.stop()
    assert "invariant" not in operated.said()


def test_servers_leave_and_come_back_under_load(operated: Operated) -> None:
    fields = {"virtual_server": WEB, "real_server": S2}
    rules = operated.host()
    with (
        steady(operated.lab, "c1", "requests", f"http://{VIP}/", "--rate", "50") as requests,
        steady(
            operated.lab, "c2", "transfer", f"http://{VIP}/bytes/20000000", "--rate", "1000000"
        ) as transfer,
    ):
        for _ in range(10):
            operated.ask("remove", **fields)
            operated.ask("add", **fields)
        operated.ask("add", virtual_server="10.0.1.101:80", name="more")
        operated.ask("add", virtual_server="10.0.1.101:80", real_server=S2)
        answer = operated.lab.client("c2", "requests", "http://10.0.1.101/", "-n", "2")
        operated.ask("remove", virtual_server="10.0.1.101:80")
    assert requests["errors"] == []
    assert transfer["identical"]
    assert transfer["outlasted"]
    assert answer["answers"] == {"s2": 2}
    operated.assert_counters_equal_the_table()
    if operated.capture == "tun":
        # Rules of connections that still linger aside, all is as it was.
        assert set(rules.splitlines()) <= set(operated.host().splitlines())
    operated.stop()


def test_reload_on_hangup(operated: Operated) -> None:
    operated.configure(weight=3)
    operated.process.send_signal(signal.SIGHUP)
    wait_until(lambda: f"reload: web: real server {S1} weight 1 -> 3" in operated.said())
    operated.path.write_text("[switch\n")
    operated.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "nothing was changed" in operated.said())
    assert operated.rows("virtual_servers")[0]["real_servers"][0]["weight"] == 3
    operated.stop()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["set", WEB, "10.0.2.99:80", "--state", "drain"], 1),
        (["set", WEB, S1, "--weight", "-1"], 2),
        (["set", f"{VIP}:99999", S1, "--state", "drain"], 2),
        (["add", WEB, S1], 1),
        (["add", WEB, f"{VIP}:81"], 1),
        (["add", WEB, "192.0.2.1:80"], 1),
        (["add", WEB, "10.0.2.1:80"], 1),
        (["add", "10.0.2.1:80", "--name", "self"], 1),
        (["remove", "10.0.1.77:80"], 1),
        (["remove", WEB, "10.0.2.99:80"], 1),
        (["reload"], 2),
    ],
)
@pytest.mark.lab(switch=False)
def test_every_verb_given_nonsense(nonsense: Operated, arguments: list[str], code: int) -> None:
    before = (nonsense.rows("virtual_servers"), nonsense.host())
    done = nonsense.lab.cli(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("lb-switch: ")
    assert len(lines) == (2 if arguments == ["reload"] else 1), lines
    assert "internal error" not in done.stderr
    assert (nonsense.rows("virtual_servers"), nonsense.host()) == before


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def nonsense(request: pytest.FixtureRequest) -> Iterator[Operated]:
    with Lab(switch=False) as lab:
        operated = Operated(lab, request.param)
        operated.path.write_text("[[virtual_server]\n")
        yield operated
        operated.stop()


@pytest.mark.lab(switch=False)
def test_readers_that_never_read_hold_up_nobody(operated: Operated) -> None:
    operated.lab.client("c1", "requests", f"http://{VIP}/", "-n", "50")
    request = b'{"version": 1, "verb": "show", "what": "connections"}\n' * 500
    slow = []
    for _ in range(12):
        reader = socket.socket(socket.AF_UNIX)
        reader.connect(str(operated.lab.control_socket))
        reader.sendall(request)
        slow.append(reader)
    result = operated.lab.client("c1", "requests", f"http://{VIP}/", "-n", "100")
    assert result["errors"] == []
    assert operated.lab.cli("show").returncode == 0
    for reader in slow:
        reader.close()
    operated.stop()


def test_watching_over_a_restart(operated: Operated) -> None:
    argv = [*lb_switch(), "show", "--json", "--watch", "0.1"]
    watching = operated.lab.popen(
        SWITCH, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert json.loads(watching.stdout.readline())[0]["name"] == "web"  # type: ignore[union-attr]
    operated.stop()
    assert "waiting for it" in watching.stderr.readline()  # type: ignore[union-attr]
    operated.process = operated.start()
    assert "restarted" in watching.stderr.readline()  # type: ignore[union-attr]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 0
    operated.stop()


def test_as_a_service_with_two_capabilities(operated: Operated, tmp_path: Path) -> None:
    """The unit's capabilities are enough, and systemd hears what it waits for."""
    operated.stop()
    few = ("setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--no-new-privs")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(tmp_path / "notify"))
        manager.settimeout(20)
        operated.process = operated.start(few, NOTIFY_SOCKET=os.fspath(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        status = Path(f"/proc/{operated.process.pid}/status").read_text()
        capabilities = next(line for line in status.splitlines() if line.startswith("CapEff"))
        assert int(capabilities.split()[1], 16) == 1 << 12 | 1 << 13
        answers = operated.lab.client("c1", "requests", f"http://{VIP}/", "-n", "4")["answers"]
        assert answers == {"s1": 2, "s2": 2}
        operated.configure(weight=2)
        assert operated.lab.cli("reload").returncode == 0
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1"
        operated.ask("add", virtual_server="10.0.1.101:80", name="more")
        operated.stop()
        assert manager.recv(100) == b"STOPPING=1"
    assert "LB-SWITCH" not in operated.host()
    assert "lbtun" not in operated.host()
