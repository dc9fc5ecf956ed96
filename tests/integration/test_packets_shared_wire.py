"""Clients and real servers in two subnets of one wire, with plain NAT.

Every answer leaves by the interface that it came in by.  A router tells the sender of such a packet
of the direct way (an ICMP redirect), and whoever believes it bypasses the translation from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK, Segment
from tests.support.witness import checksums_are_right, told

pytestmark = pytest.mark.netns

WIRE = Segment("wire", ("10.0.1.1/24", "10.0.2.1/24", "2001:db8:1::1/64", "2001:db8:2::1/64"))
SHARED_WIRE = replace(
    DUAL_STACK,
    name="shared-wire",
    segments=(WIRE,),
    hosts=tuple(replace(host, segment="wire") for host in DUAL_STACK.hosts),
)
URLS = {4: "http://10.0.1.100/", 6: "http://[2001:db8:1::100]/"}
SERVERS = {4: "10.0.2.11", 6: "2001:db8:2::11"}
both_families = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(SHARED_WIRE, capture=request.param, check_invariants=True) as made:
        yield made


@both_families
def test_nobody_is_told_of_a_way_round_the_switch(lab: Lab, version: int) -> None:
    with (
        sniff(lab, "c1", "icmp or icmp6") as at_client,
        sniff(lab, "s1", "icmp or icmp6") as at_server,
        checksums_are_right(lab, "c1", "s1", "s2"),
    ):
        for keep_alive in ((), ("--keep-alive",)):
            argv = ("requests", URLS[version], "-n", "20", *keep_alive)
            assert lab.client("c1", *argv)["errors"] == []
        argv = ("transfer", URLS[version], "--bytes", "1000000")
        assert lab.client("c1", *argv)["errors"] == []
        for host in ("c1", "s1"):  # the canary: the sniffers see ICMP
            lab.exec(host, ["ping", "-c", "1", str(WIRE.interfaces[0].ip)], check=True)
    for host, sniffer in (("c1", at_client), ("s1", at_server)):
        text = told(lab, host, sniffer.path)
        assert "echo reply" in text
        assert "redirect" not in text


def test_without_the_switch_redirects_are_sent(lab: Lab) -> None:
    """The canary for the test above: this router does redirect."""
    lab.stop_switch()
    try:
        with sniff(lab, "c1", "icmp or icmp6") as seen:
            for target in SERVERS.values():
                lab.exec("c1", ["ping", "-c", "2", target], check=True)
        text = told(lab, "c1", seen.path)
        assert "ICMP redirect 10.0.2.11" in text
        assert "ICMP6, redirect, 2001:db8:2::11" in text
    finally:
        lab.start_switch()
