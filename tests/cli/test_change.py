"""`set`, `add`, `remove` and `reload`, against a switch that listens."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_switch.control.server import ControlServer
from tests.cli.conftest import Run
from tests.control.live import THIRD, Live, web
from tests.support.dialogue import Dialogue

VIP, RIP = "10.0.1.100:80", "10.0.2.11:8080"


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    live = Live(tmp_path / "lb.toml", web())
    server = ControlServer(tmp_path / "control.sock", live.verbs)
    server.claim()
    server.open()
    monkeypatch.setenv("LB_SWITCH_SOCKET", str(server.path))
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            if select.select([server], [], [], 0.01)[0]:
                server.handle_ready(live.now)

    thread = threading.Thread(target=serve)
    thread.start()
    yield live
    stopping.set()
    thread.join(10)
    server.close()


def test_set(run: Run, live: Live) -> None:
    result = run("set", VIP, RIP, "--state", "drain", "--weight", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "web: real server 10.0.2.11:8080 weight 1 -> 3\n"
        "web: note: rr does not look at weights (but for 0); wrr, wlc, sh, mh do\n"
        "web: real server 10.0.2.11:8080 ready -> drain\n"
    )
    other = run("set", "web", "--scheduler", "wlc")
    assert (other.exit_code, other.stdout) == (0, "web: scheduler 'rr' -> 'wlc'\n")
    again = run("set", VIP, RIP, "--state", "drain")
    assert again.stdout == "nothing changed: it was so already\n"


def test_names_work_where_addresses_do(run: Run, live: Live) -> None:
    result = run("set", "web", "10.0.2.12", "--state", "drain")
    assert result.stdout == "web: real server 10.0.2.12:8080 ready -> drain\n"
    wrong = run("set", "web", "s9", "--state", "drain")
    assert (wrong.exit_code, wrong.stderr) == (
        1,
        "lb-switch: web has no real server 's9': it has 10.0.2.11:8080, 10.0.2.12:8080\n",
    )
    Dialogue(live.switch, ("10.0.1.11", 7)).client("S")
    shown = run("show", "connections", "--client", "10.0.1.11", "--server", "10.0.2.11")
    assert "10.0.1.11:7" in shown.stdout
    assert "10.0.1.11:7" not in run("show", "connections", "--client", "10.0.1.12").stdout
    assert run("show", "stats", "--client", "10.0.1.12").exit_code == 2


def test_add_and_remove(run: Run, live: Live) -> None:
    assert run("add", VIP, "10.0.2.13:8080", "--weight", "2").exit_code == 0
    assert [rs.weight for rs in live.virtual_server().real_servers] == [1, 1, 2]
    assert run("remove", VIP, "10.0.2.13:8080").exit_code == 0
    new = ["10.0.1.100:53", "--name", "dns", "--protocol", "udp", "--scheduler", "sh"]
    assert run("add", *new).stdout == "dns: virtual server udp 10.0.1.100:53 added (sh)\n"
    assert run("remove", "10.0.1.100:53").exit_code == 0
    assert list(live.switch.virtual_servers) == ["web"]


def test_remove_says_what_becomes_of_live_connections(run: Run, live: Live) -> None:
    Dialogue(live.switch).handshake()
    result = run("remove", VIP, RIP, "--now")
    assert result.stdout == (
        "web: real server 10.0.2.11:8080 removed\n"
        "web: connections to 10.0.2.11:8080: 1, by on_down = 'reset'\n"
    )
    assert run("remove", VIP, "10.0.2.12:8080", "--drain").stdout == (
        "web: real server 10.0.2.12:8080 removed\n"
    )


def test_remove_a_virtual_server_says_the_same(run: Run, live: Live) -> None:
    Dialogue(live.switch).handshake()
    assert run("remove", "web", "--now").stdout == (
        "web: virtual server tcp 10.0.1.100:80 removed\n"
        "web: connections to 10.0.2.11:8080: 1, by on_down = 'reset'\n"
    )


def test_reload(run: Run, live: Live) -> None:
    live.path.write_text(web() + THIRD)
    result = run("reload")
    assert (result.exit_code, result.stdout) == (
        0,
        "web: real server 10.0.2.13:8080 added (weight 1)\n",
    )


def test_a_file_that_cannot_be_used_is_bad_configuration(run: Run, live: Live) -> None:
    live.path.write_text(web("rrr", weight=-1))
    result = run("reload")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"lb-switch: {live.path} cannot be used, nothing was changed:",
        "virtual_server[0].scheduler: 'rrr' is none of rr, wrr, lc, wlc, sh, mh",
        "virtual_server[0].real_server[0].weight: -1 must be at least 0",
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["set", VIP, "10.0.2.99:80", "--state", "drain"], 1),
        (["set", "10.0.1.100:81", RIP, "--state", "drain"], 1),
        (["set", VIP, RIP, "--state", "drain", "--protocol", "udp"], 1),
        (["set", VIP, RIP], 2),
        (["set", VIP], 2),
        (["set", VIP, "--state", "drain"], 2),
        (["set", VIP, RIP, "--scheduler", "lc"], 2),
        (["set", VIP, "--scheduler", "fastest"], 2),
        (["set", VIP, RIP, "--scheduler", "lc", "--weight", "2"], 2),
        (["set", VIP, RIP, "--weight", "-1"], 2),
        (["set", VIP, RIP, "--weight", "65536"], 2),
        (["set", VIP, RIP, "--weight", "many"], 2),
        (["set", VIP, RIP, "--state", "off"], 2),
        (["set", "10.0.1.100:99999", RIP, "--state", "drain"], 2),
        (["set", "10.0.1.100", RIP, "--state", "drain"], 2),
        (["set", "www:80", RIP, "--state", "drain"], 2),
        (["add", VIP], 2),
        (["add", VIP, RIP], 1),
        (["add", VIP, "10.0.1.100:81"], 1),
        (["add", VIP, "10.0.2.13:0"], 2),
        (["add", VIP, "192.0.2.1:80"], 1),
        (["add", VIP, "10.0.2.13:80", "--name", "x"], 2),
        (["add", VIP, "--name", "again"], 1),
        (["add", "10.0.1.101:80", "--name", "web"], 1),
        (["add", "10.0.1.101:80", "--name", "x", "--weight", "1"], 2),
        (["add", "10.0.1.101:80", "--name", "x", "--scheduler", "rrr"], 2),
        (["remove", "10.0.1.101:80"], 1),
        (["remove", VIP, "10.0.2.99:80"], 1),
        (["remove"], 2),
        (["reload", "now"], 2),
    ],
)
def test_nonsense_is_one_clear_line_and_changes_nothing(
    run: Run, live: Live, arguments: list[str], code: int
) -> None:
    before = live.picture()
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("lb-switch: ")
    assert "internal error" not in result.stderr
    assert live.picture() == before


@pytest.mark.parametrize(
    "arguments", [["set", VIP, RIP, "--weight", "1"], ["remove", VIP], ["reload"]]
)
def test_without_a_switch(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    result = run(*arguments, "--socket", tmp_path / "none.sock")
    assert result.exit_code == 1
    assert result.stderr.startswith("lb-switch: lb-switch is not running")
