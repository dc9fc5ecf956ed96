"""`lb-switch show`, against a control socket that a switch serves."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from lb_switch.cli import control_socket as control_socket_module
from lb_switch.cli.commands import show as show_module
from lb_switch.engine.switch import Switch
from tests.cli.conftest import Run
from tests.support.dialogue import Dialogue


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LB_SWITCH_SOCKET", raising=False)


def test_virtual_servers(run: Run, control_socket: Path, switch: Switch) -> None:
    Dialogue(switch).handshake()
    result = run("show", "--socket", control_socket)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:4] == [
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
        "TCP  10.0.1.100:80 rr",
        "  -> 10.0.2.11:8080               Masq    1      1          0",
    ]
    assert run("show", "virtual_servers", "-n", "--socket", control_socket).stdout == result.stdout


def test_connections(run: Run, control_socket: Path, switch: Switch) -> None:
    Dialogue(switch).handshake()
    assert run("show", "connections", "--socket", control_socket).stdout == (
        "pro expire state       source             virtual            destination\n"
        "TCP 14:50  ESTABLISHED 10.0.1.11:40000    10.0.1.100:80      10.0.2.11:8080\n"
    )
    (row,) = json.loads(run("show", "connections", "--json", "--socket", control_socket).stdout)
    assert (row["state"], row["expire"]) == ("ESTABLISHED", 890.0)


def test_many_connections(run: Run, control_socket: Path, switch: Switch) -> None:
    for port in range(1000, 3000):
        Dialogue(switch, ("10.0.1.11", port)).client("S")
    lines = run("show", "connections", "--socket", control_socket).stdout.splitlines()
    assert len({line.split()[3] for line in lines[1:]}) == 2000


def test_stats(run: Run, control_socket: Path, switch: Switch) -> None:
    Dialogue(switch).handshake()
    lines = run("show", "stats", "--socket", control_socket).stdout.splitlines()
    assert "TCP  10.0.1.100:80                       1        2        1       80       40" in lines
    assert "Connections 1 of 1000000 at most, 0 half-open" in lines
    stats = json.loads(run("show", "stats", "--json", "--socket", control_socket).stdout)
    assert stats["packets"]["known_connection"] == 2
    assert stats["virtual_servers"][0]["name"] == "web"


def test_rate_needs_two_looks(
    run: Run, control_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_module, "RATE_SECONDS", 0.0)
    result = run("show", "rate", "--socket", control_socket)
    # The clock of the tests stands still: no time passed between the looks.
    assert result.exit_code == 1
    assert result.stderr == "lb-switch: the switch's clock did not advance\n"


def test_where_the_socket_is_looked_for(
    run: Run,
    control_socket: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("netns_lab.lab.list_labs", list)  # those of others do not matter here
    config.write_text(f'[switch]\ncontrol_socket = "{tmp_path}/of_config"\n')
    nowhere = f"lb-switch: lb-switch is not running: there is no control socket {tmp_path}/"
    monkeypatch.setenv("LB_SWITCH_SOCKET", f"{tmp_path}/of_environment")
    assert run("show").stderr == f"{nowhere}of_environment\n"
    assert run("show", "--config", config).stderr == f"{nowhere}of_config\n"
    assert run("show", "--config", config, "--socket", control_socket).exit_code == 0
    config.write_text("")
    assert run("show", "--config", config).stderr == f"{nowhere}of_environment\n"
    monkeypatch.setattr(control_socket_module, "DEFAULT_SOCKET", f"{tmp_path}/of_default")
    monkeypatch.delenv("LB_SWITCH_SOCKET")
    result = run("show")
    assert (result.exit_code, result.stderr) == (1, f"{nowhere}of_default\n")


def test_the_default_is_that_of_the_schema() -> None:
    from lb_switch.config.schema import DEFAULT_CONTROL_SOCKET

    assert control_socket_module.DEFAULT_SOCKET == DEFAULT_CONTROL_SOCKET


def test_a_dead_switch(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
    result = run("show", "--socket", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"lb-switch: lb-switch is not running: nobody listens on {path}\n"
