"""After every kind of change a reader's picture is what `show` says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.control.messages import RequestError
from lb_switch.engine.changes import SetHealth
from lb_switch.engine.listeners import Interest
from lb_switch.stream.hub import Hub
from lb_switch.stream.picture import Picture
from lb_switch.stream.schema import Header, decode
from tests.control.live import DNS, THIRD, Live, web
from tests.support.dialogue import Dialogue, send
from tests.support.packets import udp

VIP = "10.0.1.100:80"
INTEREST = Interest(packets=False, keep=0)
OF_GROUP = (
    "name",
    "address",
    "protocol",
    "scheduler",
    "persistence_timeout",
    "persistence_prefix",
    "one_packet",
)
OF_SERVER = ("address", "weight", "state", "healthy", "active", "inactive", "connections")
OF_CONNECTION = ("protocol", "state", "source", "virtual", "destination", "virtual_server")


class Watched:
    """A switch that operators change, and somebody who reads its stream from the beginning."""

    def __init__(self, folder: Path) -> None:
        self.live = Live(folder / "lb.toml", web())
        hub = Hub(self.live.switch)
        self.picture = Picture(Header.model_validate_json(hub.header(0, 0.0)))
        hub.add(self, INTEREST)
        self.ports = iter(range(2000, 60000))

    def put(self, line: bytes) -> None:
        self.picture.learn(decode(line))

    def drop(self) -> None:
        raise AssertionError("an event could not be told")

    def flush(self) -> None:
        pass

    def check(self) -> None:
        """Compare with what `show` says."""
        self.live.now += 0.25
        shown = self._show("virtual_servers")
        assert [_group(row) for row in self.picture.rows()] == [_group(row) for row in shown]
        connections = [
            {
                "protocol": known.entry.protocol,
                "state": known.state,
                "source": known.entry.client,
                "virtual": known.entry.virtual,
                "destination": known.entry.real,
                "virtual_server": self.picture.name_of(known.entry),
            }
            for known in self.picture.connections.values()
        ]
        assert _sorted(connections) == _sorted(
            [{key: row[key] for key in OF_CONNECTION} for row in self._show("connections")]
        )
        running = self.live.switch.settings
        told = self.picture.settings
        assert (told.max_connections, told.unknown_tcp) == (
            running.max_connections,
            running.unknown_tcp,
        )
        assert told.timeouts == {state.name: each for state, each in running.timeouts.items()}

    def _show(self, what: str) -> list[dict[str, Any]]:
        request = {"version": 1, "verb": "show", "what": what}
        rows: Any = self.live.verbs(request, self.live.now)
        return list(rows)

    def ask(self, verb: str, **fields: object) -> None:
        """Ask for a change, which may be refused."""
        with contextlib.suppress(RequestError):
            self.live.ask(verb, **fields)


def _group(row: dict[str, Any]) -> dict[str, Any]:
    servers = [{key: each[key] for key in OF_SERVER} for each in row["real_servers"]]
    return {**{key: row[key] for key in OF_GROUP}, "real_servers": servers}


def _sorted(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    return sorted(sorted(row.items()) for row in rows)


Step = Callable[[Watched, int], None]


def _health(watched: Watched, number: int) -> None:
    servers = [
        each
        for group in watched.live.switch.virtual_servers.values()
        for each in group.real_servers
    ]
    if servers:
        server = servers[number % len(servers)]
        change = SetHealth(server, bool(number & 8), "found")
        watched.live.switch.change(change, watched.live.now)


def _state(watched: Watched, number: int) -> None:
    state = ("ready", "drain", "maint")[number % 3]
    server = f"10.0.2.1{1 + number % 2}:8080"
    watched.ask("set", virtual_server=VIP, protocol="tcp", real_server=server, state=state)


def _weight(watched: Watched, number: int) -> None:
    server = f"10.0.2.1{1 + number % 3}:8080"
    watched.ask("set", virtual_server=VIP, protocol="tcp", real_server=server, weight=number % 4)


def _add(watched: Watched, number: int) -> None:
    server = f"10.0.2.1{1 + number % 4}:8080"
    watched.ask("add", virtual_server=VIP, protocol="tcp", real_server=server, weight=number % 3)


def _remove(watched: Watched, number: int) -> None:
    server = f"10.0.2.1{1 + number % 4}:8080"
    live = "now" if number & 16 else "drain"
    watched.ask("remove", virtual_server=VIP, protocol="tcp", real_server=server, live=live)


def _add_group(watched: Watched, number: int) -> None:
    place = f"10.0.1.100:{81 + number % 2}"
    watched.ask("add", virtual_server=place, name=f"more{number % 3}", scheduler="lc")


def _remove_group(watched: Watched, number: int) -> None:
    places = ("10.0.1.100:81", "10.0.1.100:82", VIP)
    live = "now" if number & 16 else "drain"
    watched.ask("remove", virtual_server=places[number % 3], protocol="tcp", live=live)


RELOADS = (
    web(),
    web(weight=3),
    web(scheduler="wrr", on_down="keep"),
    web() + THIRD,
    web() + DNS,
    DNS + web(),
    web().replace('"web"', '"shop"') + DNS,
    web(more="persistence_timeout = 30.0"),
    '[switch]\nmax_connections = 5000\nunknown_tcp = "drop"\n' + web(),
    "[switch.timeouts]\nestablished = 5\n" + web(),
    "not TOML [",
)


def _reload(watched: Watched, number: int) -> None:
    watched.live.path.write_text(RELOADS[number % len(RELOADS)])
    watched.ask("reload")


def _refused_by_the_host(watched: Watched, number: int) -> None:
    watched.ask("add", virtual_server=VIP, protocol="tcp", real_server=f"192.0.2.1:{1 + number}")


def _traffic(watched: Watched, number: int) -> None:
    switch, client = watched.live.switch, ("10.0.1.11", next(watched.ports))
    talk = Dialogue(switch, client)
    talk.now = watched.live.now
    seen = talk.client("S")
    if talk.rip is None or seen.reason.value != "new_connection":
        return
    if number & 1:
        talk.server("SA")
        talk.client("A")
    if number & 2:
        talk.client("FA")
    if number & 4:
        talk.client("S", seq=1)
    if number & 8:
        send(switch, udp(client, ("10.0.1.100", 80), b"?"), watched.live.now)


def _time(watched: Watched, number: int) -> None:
    watched.live.now += (1.0, 15.0, 130.0, 1000.0)[number % 4]
    watched.live.switch.handle_timers(watched.live.now)
    watched.live.operations.tidy(watched.live.now)


STEPS: tuple[Step, ...] = (
    _health,
    _state,
    _weight,
    _add,
    _remove,
    _add_group,
    _remove_group,
    _reload,
    _refused_by_the_host,
    _traffic,
    _traffic,
    _time,
)


@pytest.mark.parametrize("step", dict.fromkeys(STEPS), ids=lambda step: step.__name__[1:])
def test_each_kind_of_change(step: Step, tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    for port in range(4):
        _traffic(watched, port)
    for number in range(22):
        step(watched, number)
        watched.check()


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 63)), max_size=25))
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_changes(sequence: list[tuple[Step, int]]) -> None:
    with TemporaryDirectory() as folder:
        watched = Watched(Path(folder))
        for step, number in sequence:
            step(watched, number)
            watched.check()
