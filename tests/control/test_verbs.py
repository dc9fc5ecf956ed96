"""What each verb tells about a switch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lb_switch.control.messages import RequestError
from lb_switch.control.verbs import Verbs
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.switch import Switch
from tests.support.dialogue import RIPS6, VIP6, Dialogue, make_switch, udp_dialogue


def show(switch: Switch, what: str, now: float = 0.0) -> Any:
    result = Verbs(switch, now)({"version": 1, "verb": "show", "what": what}, now)
    return list(result) if isinstance(result, Iterator) else result


def test_virtual_servers_with_their_real_servers() -> None:
    switch = make_switch(protocols=(TCP,), scheduler="wrr")
    dialogue = Dialogue(switch)
    dialogue.handshake()
    dialogue.client("PA", b"hello")
    (web,) = show(switch, "virtual_servers")
    assert {key: web[key] for key in ("name", "address", "protocol", "scheduler")} == {
        "name": "web",
        "address": "10.0.1.100:80",
        "protocol": "tcp",
        "scheduler": "wrr",
    }
    assert {key: web[key] for key in ("persistence_timeout", "persistence_prefix")} == {
        "persistence_timeout": 0.0,
        "persistence_prefix": 0,
    }
    assert web["one_packet"] is False
    first, second, _ = web["real_servers"]
    assert first == {
        "address": "10.0.2.11:8080",
        "forward": "nat",
        "weight": 1,
        "state": "ready",
        "healthy": True,
        "active": 1,
        "inactive": 0,
        "connections": 1,
        "to_server": {"packets": 3, "bytes": 40 + 40 + 45},
        "to_client": {"packets": 1, "bytes": 40},
    }
    assert (second["active"], second["connections"]) == (0, 0)


def test_the_options_of_a_virtual_server() -> None:
    switch = make_switch()
    web, dns = switch.virtual_servers.values()
    web.forward, web.persistence, dns.one_packet = "full_nat", Persistence(300.0, 24), True
    web_row, dns_row = show(switch, "virtual_servers")
    assert {server["forward"] for server in web_row["real_servers"]} == {"full_nat"}
    assert (web_row["persistence_timeout"], web_row["persistence_prefix"]) == (300.0, 24)
    assert (web_row["one_packet"], dns_row["one_packet"]) == (False, True)


def test_connections() -> None:
    switch = make_switch()
    Dialogue(switch).handshake()
    udp_dialogue(switch)
    tcp_row, udp_row = show(switch, "connections", now=10.0)
    assert tcp_row == {
        "protocol": "tcp",
        "expire": 890.0,
        "state": "ESTABLISHED",
        "source": "10.0.1.11:40000",
        "virtual": "10.0.1.100:80",
        "destination": "10.0.2.11:8080",
        "virtual_server": "web",
        "to_server": {"packets": 2, "bytes": 80},
        "to_client": {"packets": 1, "bytes": 40},
    }
    assert (udp_row["protocol"], udp_row["state"], udp_row["expire"]) == ("udp", "UDP", 290.0)


def test_ipv6_connections_are_bracketed() -> None:
    switch = make_switch(VIP6, RIPS6)
    Dialogue(switch, ("2001:db8:1::11", 40000), VIP6).client("S")
    (row,) = show(switch, "connections")
    assert (row["source"], row["virtual"], row["destination"]) == (
        "[2001:db8:1::11]:40000",
        "[2001:db8:1::100]:80",
        "[2001:db8:2::11]:8080",
    )


def test_the_table_may_change_while_its_connections_are_listed() -> None:
    switch = make_switch()
    old = [("10.0.1.11", port) for port in range(1000, 3000)]
    for client in old:
        Dialogue(switch, client).client("S")
    listing = Verbs(switch, 0.0)({"version": 1, "verb": "show", "what": "connections"}, 0.0)
    assert isinstance(listing, Iterator)
    seen = []
    for number, row in enumerate(listing):
        Dialogue(switch, ("10.0.1.12", 1000 + number)).client("S")
        seen.append(row["source"])
        if number > 10_000:
            break
    of_old = [source for source in seen if source.startswith("10.0.1.11:")]
    assert sorted(of_old) == sorted(f"{host}:{port}" for host, port in old)


def test_an_overdue_connection_expires_in_no_time_not_in_less() -> None:
    switch = make_switch()
    Dialogue(switch).client("S")
    assert show(switch, "connections", now=100.0)[0]["expire"] == 0.0


def test_stats() -> None:
    switch = make_switch()
    Dialogue(switch).client("S")
    stats = show(switch, "stats", now=7.0)
    assert stats["time"] == 7.0
    assert (stats["connections"], stats["half_open"]) == (1, 1)
    assert stats["max_connections"] == 1_000_000
    assert stats["packets"]["new_connection"] == 1
    assert sum(stats["packets"].values()) == 1


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"verb": "shwo"}, "verb 'shwo' is none of show, subscribe"),
        (
            {"verb": "show"},
            "show: None is none of virtual_servers, connections, stats, hosts, host",
        ),
        (
            {"verb": "show", "what": ["stats"]},
            "show: ['stats'] is none of virtual_servers, connections, stats, hosts, host",
        ),
    ],
)
def test_unknown_requests(request_: dict[str, Any], error: str) -> None:
    with pytest.raises(RequestError) as caught:
        Verbs(make_switch(), 0.0)(request_, 0.0)
    assert str(caught.value) == error
