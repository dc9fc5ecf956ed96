"""The switch that is built is the one that was configured."""

from __future__ import annotations

from typing import Any

import pytest

from lb_switch.config.build import build, health_checks
from lb_switch.config.load import validate
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.switch import Settings
from lb_switch.health.check import HealthCheck

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


def test_how_real_servers_are_checked() -> None:
    table = {
        "kind": "http",
        "path": "/health",
        "expect_status": [200, 204],
        "interval": 0.5,
        "timeout": 3,
        "rise": 4,
        "fall": 5,
        "port": 8080,
        "host": "www.example.org",
        "verify": False,
        "ca_file": "/etc/ssl/ours.pem",
    }
    checked = {**WEB, "health_check": table}
    checks = health_checks(validate({"virtual_server": [checked, DNS]}))
    assert checks == {
        WEB["name"]: HealthCheck(
            "http",
            0.5,
            3.0,
            4,
            5,
            8080,
            "/health",
            (200, 204),
            "www.example.org",
            False,
            "/etc/ssl/ours.pem",
        )
    }


def test_the_defaults_of_a_check_are_those_of_the_schema() -> None:
    checked = {**WEB, "health_check": {"kind": "tcp"}}
    assert health_checks(validate({"virtual_server": [checked]})) == {"web": HealthCheck("tcp")}


def test_two_virtual_servers_never_share_a_scheduler() -> None:
    other = {**WEB, "name": "other", "address": "10.0.1.100:81"}
    web, other_server = build(validate({"virtual_server": [WEB, other]})).virtual_servers.values()
    assert web.scheduler is not other_server.scheduler


def test_full_nat_and_its_source_address() -> None:
    full = {**WEB, "forward": "full_nat"}
    addressed = {**full, "name": "b", "address": "10.0.1.101:80", "snat": "10.0.2.100"}
    plain, vip, own = build(
        validate({"virtual_server": [DNS, full, addressed]})
    ).virtual_servers.values()
    assert (plain.forward, vip.forward, own.forward) == ("nat", "full_nat", "full_nat")
    assert [str(ip) for ip in (*vip.snats, *own.snats)] == ["10.0.1.100", "10.0.2.100"]


def test_several_source_addresses_and_the_secret_of_their_ports() -> None:
    full = {**WEB, "forward": "full_nat", "snat": ["10.0.2.100", "10.0.2.101"]}
    switch = build(validate({"virtual_server": [full]}), b"a secret")
    (own,) = switch.virtual_servers.values()
    assert [str(ip) for ip in own.snats] == ["10.0.2.100", "10.0.2.101"]
    assert switch.settings.port_secret == b"a secret"


def test_persistence() -> None:
    options = {"persistence_timeout": 300, "persistence_prefix": 24}
    web, dns = build(
        validate({"virtual_server": [{**WEB, **options}, DNS]})
    ).virtual_servers.values()
    assert web.persistence is not None
    assert (web.persistence.timeout, web.persistence.prefix_length) == (300.0, 24)
    assert dns.persistence is None


def test_one_packet_scheduling() -> None:
    web, dns = build(
        validate({"virtual_server": [WEB, {**DNS, "one_packet": True}]})
    ).virtual_servers.values()
    assert (web.one_packet, dns.one_packet) == (False, True)


def test_settings() -> None:
    table = {
        "max_connections": 5,
        "max_half_open_per_source": 7,
        "unknown_tcp": "drop",
        "answers_per_second": {"resets": 20},
        "timeouts": {"time_wait": 1, "udp": 2.5},
    }
    settings = build(validate({"switch": table})).settings
    assert (settings.max_connections, settings.unknown_tcp) == (5, "drop")
    assert settings.max_half_open_per_source == 7
    assert settings.answers_per_second == (1000, 20, 0)
    expected = {**DEFAULT_TIMEOUTS, State.TIME_WAIT: 1.0, State.UDP: 2.5}
    assert settings.timeouts == expected


def test_the_defaults_of_the_schema_are_those_of_the_engine() -> None:
    assert build(validate({})).settings == Settings()
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
