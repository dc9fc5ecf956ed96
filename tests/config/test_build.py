"""The switch that is built is the one that was configured."""

from __future__ import annotations

from typing import Any

import pytest

from lb_switch.config.build import build, unsupported
from lb_switch.config.load import validate
from lb_switch.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.packet.protocol import TCP, UDP

WEB: dict[str, Any] = {
    "name": "web",
    "address": "10.0.1.100:80",
    "scheduler": "wlc",
    "real_server": [
        {"address": "10.0.2.11:80", "weight": 3},
        {"address": "10.0.2.12:8080", "weight": 0},
    ],
}
DNS: dict[str, Any] = {"name": "dns", "address": "[2001:db8::100]:53", "protocol": "udp"}


def test_virtual_servers_and_groups_in_configured_order() -> None:
    switch = build(validate({"virtual_server": [WEB, DNS]}))
    assert list(switch.virtual_servers) == ["web", "dns"]
    web, dns = switch.virtual_servers.values()
    assert (str(web.endpoint), web.protocol, web.scheduler.name) == ("10.0.1.100:80", TCP, "wlc")
    assert [(str(rs.endpoint), rs.weight) for rs in web.real_servers] == [
        ("10.0.2.11:80", 3),
        ("10.0.2.12:8080", 0),
    ]
    assert [rs.weight for rs in web.usable_servers] == [3]
    assert (str(dns.endpoint), dns.protocol, dns.real_servers) == ("[2001:db8::100]:53", UDP, [])


@pytest.mark.parametrize("name", ["rr", "wrr", "lc", "wlc", "sh", "mh"])
def test_every_scheduler_of_the_schema_exists(name: str) -> None:
    switch = build(validate({"virtual_server": [{**WEB, "scheduler": name}]}))
    assert switch.virtual_servers["web"].scheduler.name == name


@pytest.mark.parametrize("on_down", ["reset", "reschedule", "keep"])
def test_what_becomes_of_connections_of_a_server_that_goes_down(on_down: str) -> None:
    switch = build(validate({"virtual_server": [{**WEB, "on_down": on_down}]}))
    assert switch.virtual_servers["web"].on_down == on_down


def test_two_virtual_servers_never_share_a_scheduler() -> None:
    other = {**WEB, "name": "other", "address": "10.0.1.100:81"}
    web, other_server = build(validate({"virtual_server": [WEB, other]})).virtual_servers.values()
    assert web.scheduler is not other_server.scheduler


def test_settings() -> None:
    table = {
        "max_connections": 5,
        "unknown_tcp": "drop",
        "timeouts": {"time_wait": 1, "udp": 2.5},
    }
    settings = build(validate({"switch": table})).settings
    assert (settings.max_connections, settings.unknown_tcp) == (5, "drop")
    expected = {**DEFAULT_TIMEOUTS, State.TIME_WAIT: 1.0, State.UDP: 2.5}
    assert settings.timeouts == expected


def test_the_defaults_of_the_schema_are_those_of_the_engine() -> None:
    assert build(validate({})).settings.timeouts == DEFAULT_TIMEOUTS


def test_the_hash_key_changes_what_a_hashing_scheduler_chooses() -> None:
    group = [{"address": f"10.0.2.{n}:80"} for n in range(1, 30)]
    keys = [bytes([10, 0, 0, n, 10, 0, 1, 100]) + b"\x9c\x40\x00\x50" for n in range(64)]

    def choices(hash_key: str) -> list[str]:
        data = {
            "switch": {"hash_key": hash_key},
            "virtual_server": [{**WEB, "scheduler": "mh", "real_server": group}],
        }
        web = build(validate(data)).virtual_servers["web"]
        return [str(web.scheduler.choose(key, web.usable_servers).endpoint) for key in keys]

    assert choices("a") == choices("a")
    assert choices("a") != choices("b")


@pytest.mark.parametrize(
    ("option", "line", "offline"),
    [
        ({"health_check": {"kind": "tcp"}}, "health_check.kind: 'tcp'", False),
        ({"persistence_timeout": 60}, "persistence_timeout: 60.0", True),
        ({"forward": "full_nat"}, "forward: 'full_nat'", True),
    ],
)
def test_what_is_not_built_yet_is_named(option: dict[str, Any], line: str, offline: bool) -> None:
    config = validate({"virtual_server": [WEB, {**DNS, **option}]})
    lines = [f"virtual_server[1].{line} is not supported yet"]
    assert unsupported(config) == lines
    assert unsupported(config, offline=True) == (lines if offline else [])


def test_nothing_is_refused_in_a_plain_configuration() -> None:
    assert unsupported(validate({"virtual_server": [WEB, DNS]})) == []
