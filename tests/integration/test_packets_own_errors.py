"""What the switch's own host says of translated packets reaches whoever has to know it.

Its link is narrower than those of both ends, or a real server is gone: the host's error names an
address of the switch wherever translation has changed the packet's source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import DUAL_STACK

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SNAT = {4: "10.0.2.200", 6: "2001:db8:2::200"}
NARROW = 1300
families = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["nat", "full_nat"])
def lab(capture: str, request: pytest.FixtureRequest) -> Iterator[Lab]:
    forward: Literal["nat", "full_nat"] = request.param
    services = tuple(
        replace(
            each,
            real_servers=("s1",),
            forward=forward,
            snat=SNAT[each.ip.version] if forward == "full_nat" else "",
        )
        for each in DUAL_STACK.virtual_servers
        if not each.name.startswith("secure")
    )
    topology = replace(DUAL_STACK, name="own-errors", virtual_servers=services)
    with Lab(topology, capture=capture, check_invariants=True) as made:
        yield made


def url(version: int) -> str:
    return f"http://[{VIPS[6]}]/" if version == 6 else f"http://{VIPS[4]}/"


def device_with(lab: Lab, host: str, address: str) -> str:
    for line in lab.exec(host, ["ip", "-br", "addr"], check=True).stdout.splitlines():
        if address in line:
            return line.split("@")[0].split()[0]
    raise AssertionError(f"no device of {host} has {address}")


def narrow(lab: Lab, side: str, mtu: int) -> None:
    device = device_with(lab, "switch", f"10.0.{1 if side == 'clients' else 2}.1/")
    lab.exec("switch", ["ip", "link", "set", device, "mtu", str(mtu)], check=True)
    for host in ("c1", "s1"):
        for family in ("-4", "-6"):
            lab.exec(host, ["ip", family, "route", "flush", "cache"], check=True)


@families
@pytest.mark.parametrize(("side", "way"), [("servers", "upload"), ("clients", "download")])
def test_a_transfer_over_a_narrow_link_of_the_switch(
    lab: Lab, version: int, side: str, way: str
) -> None:
    narrow(lab, side, NARROW)
    try:
        argv = ("transfer", url(version), "--bytes", "3000000", "--only", way)
        assert lab.client("c1", *argv, timeout=30)["errors"] == []
    finally:
        narrow(lab, side, 1500)


@families
def test_a_real_server_that_is_gone_is_unreachable_for_its_client(lab: Lab, version: int) -> None:
    """The host finds no neighbour there, and says so to the source of the packet that it has."""
    device = device_with(lab, "s1", "10.0.2.11/")
    lab.exec("s1", ["ip", "link", "set", device, "down"], check=True)
    try:
        lab.exec("switch", ["ip", "neigh", "flush", "all"])
        result = lab.client("c1", "requests", url(version), "-n", "1", timeout=30)
    finally:
        lab.exec("s1", ["ip", "link", "set", device, "up"], check=True)
    (error,) = result["errors"]
    assert "unreachable" in error or "No route to host" in error, error
