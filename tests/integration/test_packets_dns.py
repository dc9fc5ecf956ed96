"""A real DNS server (dnsmasq) behind the VIP, asked by dig; with and without one_packet."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import DUAL_STACK, VirtualServer
from tests.support.waiting import wait_until
from tests.support.witness import checksums_are_right, reasons

pytestmark = pytest.mark.netns

SERVERS = ("s1", "s2", "s3")
VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
BIG = sorted(f"{number:02}{'x' * 200}" for number in range(15))
"""The texts of one large answer: more than one packet holds."""
captures = pytest.mark.parametrize("capture", ["tun", "nfqueue"])
both_families = pytest.mark.parametrize("version", [4, 6])

Start = Callable[[str, bool], Lab]


@pytest.fixture
def start(make_lab: Callable[..., Lab]) -> Iterator[Start]:
    """Build a lab with a name server on each server; arguments: capture, one_packet."""
    started: list[subprocess.Popen[Any]] = []

    def start(capture: str, one_packet: bool) -> Lab:
        lab = make_lab(topology=topology(one_packet), capture=capture, switch=False)
        for name in SERVERS:
            started.append(lab.popen(name, name_server(lab, name)))
        for name in SERVERS:
            ip = str(lab.topology.host(name).ip_of_family(4))
            wait_until(partial(_answers, lab, ip, name))
        lab.start_switch()
        return lab

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def _answers(lab: Lab, ip: str, name: str) -> bool:
    return ask(lab, "c2", ip, "who.test") == [name]


def topology(one_packet: bool) -> Any:
    services = tuple(
        VirtualServer(
            f"dns-{protocol}{version}",
            VIPS[version],
            53,
            SERVERS,
            protocol,
            one_packet=one_packet and protocol == "udp",
        )
        for version in (4, 6)
        for protocol in ("udp", "tcp")
    )
    return replace(DUAL_STACK, name="dns", virtual_servers=services)


def name_server(lab: Lab, name: str) -> list[str]:
    config = lab.directory / f"dnsmasq-{name}.conf"
    lines = [
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        "user=root",
        "pid-file",
        "cache-size=0",
        "edns-packet-max=4096",
        f"txt-record=who.test,{name}",
        *(f"txt-record=big.test,{text}" for text in BIG),
        *(f"listen-address={ip}" for ip in lab.topology.host(name).addresses),
    ]
    config.write_text("\n".join(lines) + "\n")
    return ["dnsmasq", "--keep-in-foreground", f"--conf-file={config}"]


def ask(lab: Lab, host: str, server: str, name: str, *options: str) -> list[str]:
    """Return the text records that dig gets, without quotes."""
    argv = ["dig", f"@{server}", name, "TXT", "+short", "+tries=1", "+time=3", *options]
    said = lab.exec(host, argv).stdout
    return [line.strip('"') for line in said.splitlines() if line[:1] == '"']


@captures
def test_queries_are_answered_by_each_server_in_turn(start: Start, capture: str) -> None:
    lab = start(capture, False)
    for version, vip in VIPS.items():
        with checksums_are_right(lab, "c1", "s1", expression="port 53"):
            answers = [ask(lab, "c1", vip, "who.test") for _ in range(6)]
        assert sorted(answers) == [["s1"]] * 2 + [["s2"]] * 2 + [["s3"]] * 2, version
        assert [ask(lab, "c1", vip, "who.test", "+tcp") for _ in range(3)] == [
            ["s1"],
            ["s2"],
            ["s3"],
        ]


@captures
def test_large_answers_come_as_fragments_or_by_tcp(start: Start, capture: str) -> None:
    lab = start(capture, False)
    for vip in VIPS.values():
        for options in (("+bufsize=4096",), ("+bufsize=512",)):
            assert sorted(ask(lab, "c1", vip, "big.test", *options)) == BIG, options
    assert reasons(lab)["fragment"] > 0, "the canary: there were fragments"


def from_one_port(lab: Lab, version: int, count: int) -> list[str]:
    """Ask from one source port, as many a resolver does; return who answered."""
    own = lab.topology.host("c1").ip_of_family(version)
    options = ("-b", f"{own}#5300")
    answers = [ask(lab, "c1", VIPS[version], "who.test", *options) for _ in range(count)]
    return [name for answer in answers for name in answer]


@captures
def test_without_one_packet_a_source_port_keeps_its_server(start: Start, capture: str) -> None:
    lab = start(capture, False)
    for version in VIPS:
        assert len(set(from_one_port(lab, version, 6))) == 1
    assert "one_packet" not in reasons(lab)


@captures
def test_with_one_packet_each_query_is_scheduled_on_its_own(start: Start, capture: str) -> None:
    lab = start(capture, True)
    for version in VIPS:
        assert Counter(from_one_port(lab, version, 6)) == dict.fromkeys(SERVERS, 2)
    assert reasons(lab)["one_packet"] == 12
    assert sorted(ask(lab, "c1", VIPS[4], "big.test", "+bufsize=4096")) == BIG
    assert " ops" in lab.cli("show").stdout
