"""From results to the switch: who is checked, what it is told, what operators see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lb_switch.engine.changes import RemoveVirtualServer, SetAdminState
from lb_switch.engine.events import Aspect, Event, ProbeEvent, ServerEvent
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.health import checks
from lb_switch.health.check import HealthCheck
from lb_switch.health.checks import HealthChecks
from lb_switch.health.messages import Found, Start, Stop, read_order
from lb_switch.health.process import ProcessStatus
from lb_switch.health.tracker import ProbeResult

CHECK = HealthCheck("tcp", interval=2.0, timeout=1.0, rise=2, fall=2)
PASS, REFUSED = ProbeResult(True, "connected", 0.001), ProbeResult(False, "connect refused", 0.001)


class Process:
    """Stands in for the probe process: keeps what it is told."""

    def __init__(self, _loop: object, _listener: object, _command: Sequence[str]) -> None:
        self.status = ProcessStatus("stopped", None, 0, None)
        self.told: list[Start | Stop] = []

    def open(self, _now: float) -> None:
        self.status = ProcessStatus("running", 7, 0, None)

    def send(self, lines: bytes) -> None:
        self.told += map(read_order, lines.splitlines())

    def close(self) -> None:
        self.status = ProcessStatus("stopped", None, 0, None)


def group(*last: int, name: str = "web") -> VirtualServer:
    servers = [RealServer(Endpoint.parse(f"10.0.2.{n}:80")) for n in last]
    vip = Endpoint.parse("10.0.1.100:80" if name == "web" else "10.0.1.100:81")
    return VirtualServer(name, vip, TCP, RoundRobin(), servers)


class Scene:
    """A switch, its checks, and what they said."""

    def __init__(self, *virtual_servers: VirtualServer, **checks: HealthCheck | None) -> None:
        self.now = 100.0
        self.checks: dict[str, HealthCheck | None] = {"web": CHECK, "other": CHECK, **checks}
        """How each virtual server is checked, by name; None: not at all."""
        self.said: list[str] = []
        self.complained: list[str] = []
        self.events: list[Event] = []
        self.switch = Switch()
        for each in virtual_servers:
            self.switch.add_virtual_server(each)
        loop: Any = None
        self.health = HealthChecks(
            self.switch,
            loop,
            say=self.said.append,
            complain=self.complained.append,
        )
        process: Any = self.health._process
        self.process: Process = process
        self.update()

    def update(self) -> list[Start | Stop]:
        """Follow the switch's virtual servers; return what the process is told."""
        self.process.told.clear()
        checks = {name: check for name, check in self.checks.items() if check is not None}
        self.health.update(self.switch.virtual_servers.values(), checks, self.now)
        return list(self.process.told)

    def take(self, number: int, *results: ProbeResult) -> None:
        for result in results:
            self.now += 1.0
            self.health.note(Found(number, result), self.now)

    def rows(self) -> list[dict[str, Any]]:
        return list(self.health.rows(self.now))


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ProbeProcess", Process)


def usable(virtual_server: VirtualServer) -> list[str]:
    return [str(server.endpoint.ip) for server in virtual_server.usable_servers]


def test_a_server_goes_down_and_comes_back() -> None:
    web = group(11, 12)
    scene = Scene(web)
    assert [order.number for order in scene.process.told] == [1, 2]
    both, other = ["10.0.2.11", "10.0.2.12"], ["10.0.2.12"]
    assert usable(web) == both, "until the first result all are taken as healthy"
    scene.take(1, PASS, REFUSED)
    assert (usable(web), scene.said) == (both, [])
    scene.take(1, REFUSED)
    assert usable(web) == other
    scene.take(1, PASS)
    assert usable(web) == other
    scene.take(1, PASS)
    assert usable(web) == both
    assert scene.said == [
        "web 10.0.2.11:80 is down: connect refused",
        "web 10.0.2.11:80 is up: connected",
    ]


def test_a_dead_server_is_known_from_its_first_result() -> None:
    web = group(11)
    scene = Scene(web)
    scene.take(1, REFUSED)
    assert web.usable_servers == ()
    assert scene.said == ["web 10.0.2.11:80 is down: connect refused"]


def test_what_is_no_news_does_not_touch_the_group() -> None:
    """Schedulers derive things from the group and see by identity that it is the same."""
    web = group(11, 12)
    scene = Scene(web)
    before = web.usable_servers
    scene.take(1, PASS, PASS, REFUSED, PASS)
    scene.update()
    assert web.usable_servers is before


def test_every_probe_and_every_change_is_an_event() -> None:
    web = group(11)
    scene = Scene(web)
    scene.switch.listen(scene.events.append)
    scene.take(1, REFUSED, PASS)
    (server,) = web.real_servers
    assert scene.events == [
        ProbeEvent(101.0, web, server, "tcp", False, "connect refused", 0.001, "down"),
        ServerEvent(101.0, web, server, Aspect.HEALTH, "connect refused"),
        ProbeEvent(102.0, web, server, "tcp", True, "connected", 0.001, None),
    ]


def test_health_and_the_operators_wish_are_two_things() -> None:
    web = group(11)
    (server,) = web.real_servers
    scene = Scene(web)
    scene.switch.change(SetAdminState(server, AdminState.MAINT), scene.now)
    scene.take(1, PASS)
    assert (server.usable, scene.rows()[0]["state"]) == (False, "up")


def test_the_process_is_started_when_there_is_something_to_check() -> None:
    scene = Scene(group(11), web=None)
    assert scene.process.status.state == "stopped"
    assert scene.health.patience() is None
    scene.switch.add_virtual_server(group(11, name="other"))
    scene.update()
    assert scene.process.status.state == "running"
    assert scene.health.patience() == 2.0 + 1.0 + 10.0


def test_servers_that_come_and_go() -> None:
    web = group(11, 12)
    scene = Scene(web)
    scene.take(2, REFUSED)
    web.remove(web.real_servers[1])
    new = web.add(RealServer(Endpoint.parse("10.0.2.13:80")))
    assert scene.update() == [Stop(2), Start(3, CHECK.aimed_at(new.endpoint))]
    scene.take(2, REFUSED, REFUSED)  # crossed with the order to stop
    assert [row["state"] for row in scene.rows()] == ["unknown", "unknown"]
    assert scene.update() == []
    again = web.add(RealServer(Endpoint.parse("10.0.2.12:80")))
    assert [type(order) for order in scene.update()] == [Start]
    assert again.healthy, "it begins anew"


def test_what_is_known_survives_a_reload_that_makes_new_objects() -> None:
    web = group(11, 12)
    scene = Scene(web)
    scene.take(1, REFUSED)
    scene.take(2, PASS, REFUSED)
    scene.switch.change(RemoveVirtualServer(web), 0.0)
    other = group(12, 11)
    scene.switch.add_virtual_server(other)
    assert scene.update() == []
    assert [str(rs.endpoint) for rs in other.usable_servers] == ["10.0.2.12:80"]
    scene.take(2, REFUSED)
    assert other.usable_servers == ()


@pytest.mark.parametrize(
    ("change", "orders"),
    [
        ({"rise": 1, "fall": 5}, []),
        ({"interval": 9.0}, [Stop, Start]),
        ({"port": 8080}, [Stop, Start]),
        ({"kind": "http"}, [Stop, Start]),
    ],
)
def test_another_check_goes_on_from_what_is_known(
    change: dict[str, Any], orders: list[type]
) -> None:
    web = group(11)
    scene = Scene(web)
    scene.take(1, REFUSED, PASS)
    scene.checks["web"] = check = CHECK._replace(**change)
    assert [type(order) for order in scene.update()] == orders
    (row,) = scene.rows()
    assert (row["state"], row["against"]) == ("down", 0)
    number = 2 if orders else 1
    scene.take(number, *[PASS] * check.rise)
    assert scene.rows()[0]["state"] == "up"


def test_a_server_that_is_no_longer_checked_is_taken_as_healthy() -> None:
    web = group(11)
    scene = Scene(web)
    scene.take(1, REFUSED)
    scene.checks["web"] = None
    assert scene.update() == [Stop(1)]
    assert len(web.usable_servers) == 1


def test_a_probe_that_could_not_be_made_is_told_once_and_changes_nothing() -> None:
    web = group(11)
    scene = Scene(web)
    scene.take(1, REFUSED, *[ProbeResult(None, "cannot probe: too many open files")] * 5)
    assert scene.complained == ["web 10.0.2.11:80: cannot probe: too many open files"]
    (row,) = scene.rows()
    assert (row["state"], row["last"]["passed"]) == ("down", None)


def test_complaints_are_bounded() -> None:
    scene = Scene(group(11))
    scene.take(1, *[ProbeResult(None, f"cannot probe: {n}") for n in range(200)])
    assert len(scene.complained) == 50


def test_a_new_process_is_told_everything() -> None:
    scene = Scene(group(11, 12), group(11, name="other"), other=CHECK._replace(port=8080))
    orders = [read_order(line) for line in scene.health.orders().splitlines()]
    assert orders == scene.process.told
    assert [(o.number, str(o.target.ip), o.target.port) for o in orders if type(o) is Start] == [
        (1, "10.0.2.11", 80),
        (2, "10.0.2.12", 80),
        (3, "10.0.2.11", 8080),
    ]


def test_rows() -> None:
    scene = Scene(group(11, 12), group(13, name="other"), other=None)
    scene.take(1, PASS, REFUSED)
    scene.now += 0.5
    first, second, third = scene.rows()
    assert first == {
        "virtual_server": "web",
        "address": "10.0.2.11:80",
        "state": "up",
        "seconds": 1.5,
        "cause": "connected",
        "check": "tcp",
        "interval": 2.0,
        "last": {"passed": False, "finding": "connect refused", "seconds": 0.001, "age": 0.5},
        "against": 1,
        "needed": 2,
    }
    assert (second["state"], second["last"], second["needed"]) == ("unknown", None, 1)
    assert (third["check"], third["state"], third["seconds"]) == ("none", "unknown", None)
    assert scene.health.process_row(scene.now) == {
        "state": "running",
        "pid": 7,
        "restarts": 0,
        "trouble": None,
    }


def test_where_a_check_is_aimed_at() -> None:
    server = Endpoint.parse("[2001:db8::11]:80")
    assert CHECK.aimed_at(server)[1:3] == (server.ip, 80)
    assert CHECK._replace(port=8080).aimed_at(server)[1:3] == (server.ip, 8080)
