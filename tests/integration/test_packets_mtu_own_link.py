"""A narrow link of the switch's own: its host says so, and nobody hears an unknown address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK
from tests.support.witness import checksums_are_right, told

pytestmark = pytest.mark.netns

NARROW = 1400
CLIENT = {4: "10.0.1.11", 6: "2001:db8:1::11"}
VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SERVER_NET = {4: "10.0.2.", 6: "2001:db8:2:"}
ECHO = {4: "10.0.1.100:7", 6: "[2001:db8:1::100]:7"}
both_families = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(params=["tun", "nfqueue"])
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def lab_with_narrow(segment: str, capture: str) -> Lab:
    segments = tuple(
        replace(each, mtu=NARROW) if each.name == segment else each for each in DUAL_STACK.segments
    )
    echo_only = tuple(each for each in DUAL_STACK.virtual_servers if each.name.startswith("udp"))
    one_server = tuple(replace(each, real_servers=("s1",)) for each in echo_only)
    topology = replace(
        DUAL_STACK, name=f"narrow-{segment}", segments=segments, virtual_servers=one_server
    )
    return Lab(topology, capture=capture, check_invariants=True)


@pytest.fixture
def narrow_servers(capture: str) -> Iterator[Lab]:
    with lab_with_narrow("servers", capture) as lab:
        yield lab


@pytest.fixture
def narrow_clients(capture: str) -> Iterator[Lab]:
    with lab_with_narrow("clients", capture) as lab:
        yield lab


def path_mtu(lab: Lab, host: str, target: str) -> int | None:
    found = re.search(r"mtu (\d+)", lab.exec(host, ["ip", "route", "get", target]).stdout)
    return int(found[1]) if found else None


def too_big(text: str) -> list[str]:
    return [line for line in text.splitlines() if "too big" in line or "need to frag" in line]


@both_families
def test_a_client_learns_of_a_narrow_link_to_the_real_servers(
    narrow_servers: Lab, version: int
) -> None:
    lab = narrow_servers
    with sniff(lab, "c1", "icmp or icmp6") as seen, checksums_are_right(lab, "c1", "s1"):
        lab.client("c1", "udp", ECHO[version], "--sizes", "1440,1,1")
    assert path_mtu(lab, "c1", VIPS[version]) == NARROW
    text = told(lab, "c1", seen.path)
    assert too_big(text)
    assert SERVER_NET[version] not in text
    result = lab.client("c1", "udp", ECHO[version], "--sizes", "1300,1440,9000")
    assert result["errors"] == []


@both_families
def test_a_real_server_learns_of_a_narrow_link_to_the_clients(
    narrow_clients: Lab, version: int
) -> None:
    lab = narrow_clients
    with sniff(lab, "s1", "icmp or icmp6") as seen, checksums_are_right(lab, "c1", "s1"):
        lab.client("c1", "udp", ECHO[version], "--sizes", "1440,1,1")
    assert path_mtu(lab, "s1", CLIENT[version]) == NARROW
    text = told(lab, "s1", seen.path)
    assert too_big(text)
    assert VIPS[version] not in text
    result = lab.client("c1", "udp", ECHO[version], "--sizes", "1300,1440,9000")
    assert result["errors"] == []
