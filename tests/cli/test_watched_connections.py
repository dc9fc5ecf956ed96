"""Connections as they come and go."""

from __future__ import annotations

from typing import Any

from lb_switch.cli.watched_connections import WatchedConnections

HOSTS = {"10.0.1.11": "c1", "10.0.2.12": "s2", "2001:db8:1::11": "c1"}


def row(port: int, state: str = "ESTABLISHED", ip: str = "10.0.1.11") -> dict[str, Any]:
    return {
        "protocol": "tcp",
        "source": f"{ip}:{port}",
        "virtual": "10.0.1.100:80",
        "destination": "10.0.2.12:8080",
        "state": state,
        "expire": 9.0,
    }


def test_the_newest_come_first_with_names() -> None:
    watched = WatchedConnections(0.0)
    list(watched.lines([row(1)], HOSTS, 100.0))
    list(watched.lines([row(1), row(2)], HOSTS, 102.0))
    lines = list(watched.lines([row(1), row(3), row(2)], HOSTS, 104.0))
    assert lines == [
        "age     pro  state        client          virtual        real server",
        "0 s     TCP  ESTABLISHED  c1 10.0.1.11:3  10.0.1.100:80  s2 10.0.2.12:8080",
        "2 s     TCP  ESTABLISHED  c1 10.0.1.11:2  10.0.1.100:80  s2 10.0.2.12:8080",
        "before  TCP  ESTABLISHED  c1 10.0.1.11:1  10.0.1.100:80  s2 10.0.2.12:8080",
    ]


def test_an_ipv6_client_has_its_name_too() -> None:
    watched = WatchedConnections(0.0)
    *_, line = watched.lines([row(7, ip="[2001:db8:1::11]")], HOSTS, 1.0)
    assert "c1 [2001:db8:1::11]:7" in line


def test_what_ended_stays_in_sight_for_a_while() -> None:
    watched = WatchedConnections(5.0)
    list(watched.lines([row(1)], {}, 100.0))
    for now in (102.0, 106.0):
        assert "(ESTABLISHED)" in list(watched.lines([], {}, now))[1]
    assert len(list(watched.lines([], {}, 107.0))) == 1


def test_a_new_one_on_the_same_ports_is_new() -> None:
    watched = WatchedConnections(60.0)
    list(watched.lines([row(1)], {}, 100.0))
    list(watched.lines([], {}, 102.0))
    lines = list(watched.lines([row(1, "SYN_RECV")], {}, 104.0))
    assert [line.split()[0] for line in lines[1:]] == ["0"]
    assert "(" not in lines[1]


def test_without_recent_they_go_at_once() -> None:
    watched = WatchedConnections(0.0)
    list(watched.lines([row(1)], {}, 100.0))
    assert len(list(watched.lines([], {}, 100.0))) == 1
