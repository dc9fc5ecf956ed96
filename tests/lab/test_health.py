"""How a lab's real servers are probed, by what each service can be asked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from netns_lab.config import switch_config
from netns_lab.topologies import DUAL_STACK, ECHO_LAB, TEXTBOOK
from netns_lab.topology import Health, with_health


def kinds(health: Health) -> dict[str, str]:
    return {each.name: each.check for each in with_health(ECHO_LAB, health).virtual_servers}


@pytest.mark.parametrize(
    ("health", "web", "secure", "tcp", "udp"),
    [
        ("http", "http", "https", "tcp", "icmp"),
        ("tcp", "tcp", "tcp", "tcp", "icmp"),
        ("icmp", "icmp", "icmp", "icmp", "icmp"),
        ("none", "none", "none", "none", "none"),
    ],
)
def test_each_service_is_asked_what_it_can_answer(
    health: Health, web: str, secure: str, tcp: str, udp: str
) -> None:
    assert kinds(health) == {"web": web, "secure": secure, "tcp-echo": tcp, "udp-echo": udp}


def test_the_configuration_says_so() -> None:
    text = switch_config(
        with_health(DUAL_STACK, "http"),
        capture="tun",
        scheduler="rr",
        control_socket=Path("/run/x"),
    )
    checks = {each["name"]: each["health_check"] for each in tomllib.loads(text)["virtual_server"]}
    assert checks["web6"]["kind"] == "http"
    assert (checks["secure6"]["kind"], checks["secure6"]["verify"]) == ("https", False)
    assert checks["udp-echo"]["kind"] == "icmp"


def test_nothing_else_changes() -> None:
    assert with_health(TEXTBOOK, "none") == TEXTBOOK
