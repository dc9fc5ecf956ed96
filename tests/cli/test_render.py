"""The tables, to the character.  The layouts are ipvsadm's (`-Ln`, `-Lnc`, `--stats`, `--rate`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lb_switch.cli import render

NO_OPTIONS = {"persistence_timeout": 0.0, "persistence_prefix": 0, "one_packet": False}


def server(address: str, numbers: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)) -> Any:
    return {
        "address": address,
        "forward": "nat",
        "weight": 1,
        "state": "ready",
        "healthy": True,
        "active": 3,
        "inactive": 12,
        "connections": numbers[0],
        "to_server": {"packets": numbers[1], "bytes": numbers[3]},
        "to_client": {"packets": numbers[2], "bytes": numbers[4]},
    }


def web(*servers: Any) -> Any:
    return {
        "name": "web",
        "address": "10.0.1.100:80",
        "protocol": "tcp",
        "scheduler": "wrr",
        **NO_OPTIONS,
        "real_servers": list(servers),
    }


def text(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_virtual_servers() -> None:
    v6 = {
        "name": "dns",
        "address": "[2001:db8::100]:53",
        "protocol": "udp",
        "scheduler": "rr",
        **NO_OPTIONS,
        "real_servers": [server("[2001:db8:2::11]:53")],
    }
    rows = [web(server("10.0.2.11:8080"), server("10.0.2.12:8080") | {"weight": 100}), v6]
    assert text(render.virtual_servers(rows)) == (
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
        "TCP  10.0.1.100:80 wrr\n"
        "  -> 10.0.2.11:8080               Masq    1      3          12\n"
        "  -> 10.0.2.12:8080               Masq    100    3          12\n"
        "UDP  [2001:db8::100]:53 rr\n"
        "  -> [2001:db8:2::11]:53          Masq    1      3          12\n"
    )


@pytest.mark.parametrize(
    ("address", "options", "line"),
    [
        ("10.0.1.100:80", {"persistence_timeout": 300.0}, "wrr persistent 300"),
        (
            "10.0.1.100:80",
            {"persistence_timeout": 0.5, "persistence_prefix": 24},
            "wrr persistent 0.5 mask 255.255.255.0",
        ),
        (
            "[2001:db8::100]:80",
            {"persistence_timeout": 300.0, "persistence_prefix": 64},
            "wrr persistent 300 mask 64",
        ),
        ("10.0.1.100:53", {"one_packet": True}, "wrr ops"),
    ],
)
def test_flags_in_the_words_of_ipvsadm(address: str, options: Any, line: str) -> None:
    _, _, shown = render.virtual_servers([web() | {"address": address} | options])
    assert shown == f"TCP  {address} {line}"


def test_full_nat_is_told_from_masquerading() -> None:
    *_, shown = render.virtual_servers([web(server("10.0.2.11:80") | {"forward": "full_nat"})])
    assert shown == "  -> 10.0.2.11:80                 FullNAT 1      3          12"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"state": "drain"}, "drain"),
        ({"state": "maint"}, "maint"),
        ({"healthy": False}, "down"),
        ({"state": "drain", "healthy": False}, "drain down"),
    ],
)
def test_who_gets_no_new_connection_is_marked(changes: Any, word: str) -> None:
    *_, shown = render.virtual_servers([web(server("10.0.2.11:80") | changes)])
    assert shown == f"  -> 10.0.2.11:80                 Masq    1      3          12        {word}"
    assert len(shown) <= 80


def test_connections() -> None:
    row = {
        "protocol": "tcp",
        "expire": 899.99,
        "state": "ESTABLISHED",
        "source": "10.0.1.11:40000",
        "virtual": "10.0.1.100:80",
        "destination": "10.0.2.11:8080",
    }
    assert text(render.connections([row, row | {"protocol": "udp", "state": "UDP"}])) == (
        "pro expire state       source             virtual            destination\n"
        "TCP 14:59  ESTABLISHED 10.0.1.11:40000    10.0.1.100:80      10.0.2.11:8080\n"
        "UDP 14:59  UDP         10.0.1.11:40000    10.0.1.100:80      10.0.2.11:8080\n"
    )


def test_traffic_sums_up_the_group() -> None:
    rows = [
        web(
            server("10.0.2.11:80", (1, 20, 300, 4000, 50_000)),
            server("10.0.2.12:80", (2, 30, 400, 5000, 60_000)),
        ),
        web(),
    ]
    assert text(render.traffic(rows)) == (
        "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n"
        "  -> RemoteAddress:Port\n"
        "TCP  10.0.1.100:80                       3       50      700     9000   110000\n"
        "  -> 10.0.2.11:80                        1       20      300     4000    50000\n"
        "  -> 10.0.2.12:80                        2       30      400     5000    60000\n"
        "TCP  10.0.1.100:80                       0        0        0        0        0\n"
    )


def test_rates_are_growth_per_second() -> None:
    before = [web(server("10.0.2.11:80", (1, 20, 300, 4000, 50_000)))]
    after = [
        web(
            server("10.0.2.11:80", (3, 40, 320, 4200, 50_400)),
            server("10.0.2.99:80", (5, 5, 5, 5, 5)),
        )
    ]
    assert text(render.rates(before, after, 2.0)) == (
        "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n"
        "  -> RemoteAddress:Port\n"
        "TCP  10.0.1.100:80                       1       10       10      100      200\n"
        "  -> 10.0.2.11:80                        1       10       10      100      200\n"
        "  -> 10.0.2.99:80                        0        0        0        0        0\n"
    )
    (row,) = render.rates_as_rows(before, after, 2.0)
    assert row["real_servers"][0] == {
        "address": "10.0.2.11:80",
        "connections": 1.0,
        "to_server": {"packets": 10.0, "bytes": 100.0},
        "to_client": {"packets": 10.0, "bytes": 200.0},
    }


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (100_000_000_000, "     100G"),
        (100_000_000_000_000, "     100T"),
    ],
)
def test_large_numbers_keep_their_column(number: int, shown: str) -> None:
    assert render.large(number) == shown


def test_counters() -> None:
    stats = {
        "connections": 7,
        "half_open": 2,
        "max_connections": 100,
        "packets": {"new_connection": 5, "known_connection": 120, "truncated": 0},
    }
    assert text(render.counters(stats)) == (
        "Connections 7 of 100 at most, 2 half-open\n"
        "Packets     125\n"
        "           120  known_connection\n"
        "             5  new_connection\n"
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_json_array_is_valid_json(count: int) -> None:
    rows = [{"n": n} for n in range(count)]
    assert json.loads("".join(render.json_array(rows))) == rows


def test_a_packet_of_a_replay() -> None:
    result = {
        "n": 12,
        "verdict": "forward",
        "reason": "new_connection",
        "virtual_server": "web",
        "real_server": "10.0.2.11:80",
        "direction": "original",
        "state": "SYN_RECV",
    }
    assert render.replay_line(result) == (
        "    12  forward  new_connection        web original 10.0.2.11:80 SYN_RECV"
    )
    nothing = dict.fromkeys(("virtual_server", "real_server", "direction", "state"))
    assert render.replay_line({"n": 1, "verdict": "pass", "reason": "not_ip"} | nothing) == (
        "     1  pass     not_ip"
    )


def test_findings() -> None:
    lacking = {"what": "ip", "ok": False, "detail": "", "fix": "apt-get install iproute2"}
    assert render.finding(lacking | {"needed": True}) == (
        "MISSING  ip [fix: apt-get install iproute2]"
    )
    assert render.finding(lacking | {"needed": False}).startswith("without  ip [fix: ")
    found = {"what": "ip", "ok": True, "detail": "/sbin/ip", "fix": "x", "needed": True}
    assert render.finding(found) == "ok       ip: /sbin/ip"
    assert render.diagnosis(0, "tun") == "all that `lb-switch run` needs with capture tun is here"
    assert render.diagnosis(2, "tun") == "2 things missing for `lb-switch run` with capture tun"


def test_what_the_capture_lost_is_a_line_if_anything_was() -> None:
    stats = {"connections": 1, "max_connections": 10, "half_open": 0, "packets": {}}
    counts = {"overruns": 0, "refused": 0, "write_errors": 0}
    assert not any("Capture" in line for line in render.counters({**stats, "capture": counts}))
    lines = list(render.counters({**stats, "capture": {**counts, "overruns": 3}}))
    assert "Capture     overruns 3" in lines
