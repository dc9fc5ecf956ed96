"""Names in the place of addresses, in requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from lb_switch.control.messages import RequestError
from lb_switch.engine.servers import AdminState
from tests.control.live import Live, web
from tests.support.dialogue import Dialogue

HOSTS = """
[hosts]
c1 = "10.0.1.11"
s1 = ["10.0.2.11", "2001:db8:2::11"]
s2 = "10.0.2.12"
s3 = ["10.0.2.13", "10.0.2.14"]
"""


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path / "lb.toml", web() + HOSTS)


def test_a_real_server_by_its_host(live: Live) -> None:
    assert live.ask("set", virtual_server="web", real_server="s1", state="drain") == [
        "web: real server 10.0.2.11:8080 ready -> drain"
    ]
    assert live.server(0).admin_state is AdminState.DRAIN
    live.ask("set", virtual_server="web", real_server="10.0.2.12", state="maint")
    assert live.server(1).admin_state is AdminState.MAINT
    live.ask("set", virtual_server="web", real_server="s1:8080", weight=3)
    assert live.server(0).weight == 3


def test_a_host_with_two_real_servers_needs_its_port(live: Live) -> None:
    live.ask("add", virtual_server="web", real_server="s1:81")
    with pytest.raises(RequestError) as error:
        live.ask("remove", virtual_server="web", real_server="s1")
    assert str(error.value) == (
        "'s1' may be 10.0.2.11:8080, 10.0.2.11:81: say which, with its port"
    )
    assert live.ask("remove", virtual_server="web", real_server="s1:81") == [
        "web: real server 10.0.2.11:81 removed"
    ]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (
            {"verb": "set", "virtual_server": "wed", "real_server": "s1", "state": "drain"},
            "there is no virtual server 'wed': there are web",
        ),
        (
            {"verb": "set", "virtual_server": "web", "real_server": "s3", "state": "drain"},
            "web has no real server 's3': it has s1 (10.0.2.11:8080), s2 (10.0.2.12:8080)",
        ),
        (
            {"verb": "set", "virtual_server": "web", "real_server": "s1:9", "state": "drain"},
            "web has no real server 's1:9': it has s1 (10.0.2.11:8080), s2 (10.0.2.12:8080)",
        ),
        (
            {"verb": "set", "virtual_server": "web", "real_server": "c1", "state": "drain"},
            "web has no real server 'c1': it has s1 (10.0.2.11:8080), s2 (10.0.2.12:8080)",
        ),
        (
            {"verb": "remove", "virtual_server": "web", "protocol": "udp"},
            "there is no virtual server udp web",
        ),
        (
            {"verb": "add", "virtual_server": "web", "real_server": "s2"},
            "'s2' has no port: s2:80, for example",
        ),
        (
            {"verb": "add", "virtual_server": "web", "real_server": "s3:80"},
            (
                "the host 's3' has several IPv4 addresses in the table hosts, which names"
                " c1, s1, s2, s3"
            ),
        ),
        (
            {"verb": "add", "virtual_server": "web", "real_server": "s9:80"},
            "the host 's9' has no IPv4 address in the table hosts, which names c1, s1, s2, s3",
        ),
        (
            {"verb": "show", "what": "connections", "client": "c9"},
            "there is no host 'c9': the table hosts names c1, s1, s2, s3",
        ),
        ({"verb": "show", "what": "connections", "server": 7}, "show: server is not a string"),
    ],
)
def test_a_wrong_name_says_the_right_ones(live: Live, request_: dict[str, str], why: str) -> None:
    before = live.picture()
    with pytest.raises(RequestError) as error:
        live.verbs({"version": 1, **request_}, live.now)
    assert str(error.value) == why
    assert live.picture() == before


def test_connections_of_one_client_and_of_one_server(live: Live) -> None:
    for client in ("10.0.1.11", "10.0.1.12"):
        for port in (1, 2, 3):
            Dialogue(live.switch, (client, port)).client("S")

    def shown(**hosts: str) -> list[tuple[str, str]]:
        rows = live.verbs({"version": 1, "verb": "show", "what": "connections", **hosts}, live.now)
        assert not isinstance(rows, dict)
        return sorted((row["source"], row["destination"]) for row in rows)  # type: ignore[attr-defined]

    assert len(shown()) == 6
    assert shown(client="c1") == shown(client="10.0.1.11")
    assert {source.partition(":")[0] for source, _ in shown(client="c1")} == {"10.0.1.11"}
    assert len(shown(client="c1")) == 3
    assert {place for _, place in shown(server="s2")} == {"10.0.2.12:8080"}
    assert len(shown(server="s2")) == 3
    both = shown(client="c1", server="s2")
    assert both == sorted(set(shown(client="c1")) & set(shown(server="s2")))
    assert 0 < len(both) < 3
    assert shown(client="10.0.9.9") == []
