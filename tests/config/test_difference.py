"""Differences between two configurations, in words."""

from __future__ import annotations

from typing import Any

import pytest

from lb_switch.config.difference import describe, refused
from lb_switch.config.load import validate

WEB: dict[str, Any] = {"name": "web", "address": "10.0.1.100:80"}
FIRST, SECOND = {"address": "10.0.2.11:80"}, {"address": "10.0.2.12:80"}


def switch(**keys: object) -> dict[str, Any]:
    return {"switch": keys}


def web(**keys: object) -> dict[str, Any]:
    return {"virtual_server": [{**WEB, **keys}]}


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({}, {}, []),
        (web(), web(scheduler="rr"), []),
        (
            switch(timeouts={"udp": 5.0}),
            switch(max_connections=9),
            ["switch.max_connections: 1000000 -> 9", "switch.timeouts.udp: 5.0 -> 300.0"],
        ),
        (
            {},
            web(real_server=[FIRST]),
            [
                "web: virtual server tcp 10.0.1.100:80 added (rr)",
                "web: real server 10.0.2.11:80 added (weight 1)",
            ],
        ),
        (web(), {}, ["web: virtual server tcp 10.0.1.100:80 removed"]),
        (
            web(health_check={"kind": "tcp"}),
            web(name="shop"),
            ["web: name 'web' -> 'shop'", "web: health_check.kind 'tcp' -> 'none'"],
        ),
        (
            web(real_server=[FIRST]),
            web(real_server=[SECOND]),
            [
                "web: real server 10.0.2.11:80 removed",
                "web: real server 10.0.2.12:80 added (weight 1)",
            ],
        ),
        (web(real_server=[FIRST, SECOND]), web(real_server=[SECOND, FIRST]), ["order changed"]),
        (
            web(real_server=[FIRST]),
            web(real_server=[{**FIRST, "weight": 2}]),
            ["web: real server 10.0.2.11:80 weight 1 -> 2"],
        ),
        (
            web(),
            web(protocol="udp"),
            [
                "web: virtual server tcp 10.0.1.100:80 removed",
                "web: virtual server udp 10.0.1.100:80 added (rr)",
            ],
        ),
    ],
)
def test_every_change_is_a_line(old: dict[str, Any], new: dict[str, Any], lines: list[str]) -> None:
    assert describe(validate(old), validate(new)) == lines


def test_only_some_keys_of_the_switch_need_a_restart() -> None:
    old = validate({})
    assert (
        refused(
            old,
            validate(
                switch(unknown_tcp="drop", timeouts={"udp": 1}, answers_per_second={"resets": 1})
            ),
        )
        == []
    )
    assert refused(old, validate(switch(capture="nfqueue", queue=3, hash_key="x"))) == [
        "switch.capture: 'tun' cannot become 'nfqueue' while the switch runs: restart it",
        "switch.queue: 0 cannot become 3 while the switch runs: restart it",
    ]


def test_a_limit_of_answers_is_told_by_its_kind() -> None:
    lines = describe(
        validate(switch()), validate(switch(answers_per_second={"resets": 5, "icmp_errors": 0}))
    )
    assert lines == [
        "switch.answers_per_second.icmp_errors: 1000 -> 0",
        "switch.answers_per_second.resets: 0 -> 5",
    ]
