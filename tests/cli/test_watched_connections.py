"""Connections as they come and go."""

from __future__ import annotations

from lb_switch.cli.watched_connections import WatchedConnections
from lb_switch.stream.schema import ConnectionRecord, Record

HOSTS = {"10.0.1.11": "c1", "10.0.2.12": "s2", "2001:db8:1::11": "c1"}
ENDS = {"virtual": "10.0.1.100:80", "real": "10.0.2.12:8080", "source": "10.0.1.11:1"}


def told(stage: str, port: int, state: str = "ESTABLISHED", ip: str = "10.0.1.11") -> Record:
    """What is told of the connection from this port, which is its number too."""
    traffic = {"packets": 0, "bytes": 0}
    return ConnectionRecord.model_validate(
        {
            "event": "connection",
            "time": 0.0,
            "stage": stage,
            "virtual_server": "web",
            "connection": {"number": port, "protocol": "tcp", "client": f"{ip}:{port}", **ENDS},
            "old_state": None,
            "state": state,
            "cause": None,
            "to_server": traffic,
            "to_client": traffic,
        }
    )


class Watching:
    """A watcher with a clock of its own."""

    def __init__(self, recent: float) -> None:
        self.now = 100.0
        self.watched = WatchedConnections(HOSTS, recent, clock=lambda: self.now)

    def take(self, *records: Record) -> None:
        for record in records:
            self.watched.learn(record)

    def lines(self) -> list[str]:
        return list(self.watched.lines())


def test_the_newest_come_first_with_names() -> None:
    watching = Watching(0.0)
    watching.take(told("present", 1))
    watching.now = 102.0
    watching.take(told("opened", 2, "SYN_RECV"))
    watching.now = 104.0
    watching.take(told("opened", 3), told("changed", 2))
    assert watching.lines() == [
        "age     pro  state        client          virtual        real server",
        "0 s     TCP  ESTABLISHED  c1 10.0.1.11:3  10.0.1.100:80  s2 10.0.2.12:8080",
        "2 s     TCP  ESTABLISHED  c1 10.0.1.11:2  10.0.1.100:80  s2 10.0.2.12:8080",
        "before  TCP  ESTABLISHED  c1 10.0.1.11:1  10.0.1.100:80  s2 10.0.2.12:8080",
    ]


def test_an_ipv6_client_has_its_name_too() -> None:
    watching = Watching(0.0)
    watching.take(told("opened", 7, ip="[2001:db8:1::11]"))
    assert "c1 [2001:db8:1::11]:7" in watching.lines()[1]


def test_what_ended_stays_in_sight_for_a_while() -> None:
    watching = Watching(5.0)
    watching.take(told("present", 1))
    watching.now = 102.0
    watching.take(told("closed", 1))
    for watching.now in (102.0, 106.9):
        assert "(ESTABLISHED)" in watching.lines()[1]
    watching.now = 107.0
    assert len(watching.lines()) == 1


def test_what_came_and_went_between_two_looks_is_seen() -> None:
    watching = Watching(5.0)
    watching.take(told("opened", 1), told("changed", 1, "CLOSE"), told("closed", 1, "CLOSE"))
    assert "(CLOSE)" in watching.lines()[1]


def test_without_recent_they_go_at_once() -> None:
    watching = Watching(0.0)
    watching.take(told("present", 1), told("closed", 1))
    assert len(watching.lines()) == 1
