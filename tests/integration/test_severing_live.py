"""curl waits for an answer while its real server goes out of service: it must not wait on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lb_switch.control.client import ControlClient
from netns_lab.lab import Lab
from netns_lab.topologies import DUAL_STACK, ONE_ARM, Topology
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
INTERVAL, FALL, TIMEOUT = 0.5, 2, 1.0
SOON = 2.0
"""Seconds from the transition to the client's error, on a machine that has other work."""
RESET = 56
"""curl's exit status for "Recv failure: Connection reset by peer"."""

TOPOLOGIES = {"nat": DUAL_STACK, "full_nat": ONE_ARM}


def checked(topology: Topology) -> Topology:
    """Return the web services of a topology, their servers probed."""
    web = [each for each in topology.virtual_servers if each.name in {"web", "web6"}]
    servers = tuple(replace(each, real_servers=("s1", "s2"), check="http") for each in web)
    return replace(topology, name="checked", virtual_servers=servers)


@dataclass
class Bed:
    lab: Lab
    version: int

    @property
    def vip(self) -> str:
        address = VIPS[self.version]
        return f"[{address}]" if self.version == 6 else address

    def rows(self, what: str) -> list[dict[str, Any]]:
        with ControlClient(self.lab.control_socket) as control:
            return list(control.rows("show", what=what))

    def connections(self, server: str) -> list[dict[str, Any]]:
        return [each for each in self.rows("connections") if each["destination"] == server]

    def group(self) -> dict[str, dict[str, Any]]:
        name = "web6" if self.version == 6 else "web"
        (group,) = (each for each in self.rows("virtual_servers") if each["name"] == name)
        return {each["address"]: each for each in group["real_servers"]}

    def rip(self, host: str) -> str:
        address = self.lab.topology.host(host).addresses[self.version == 6]
        address = address.split("/")[0]
        return f"[{address}]:80" if self.version == 6 else f"{address}:80"

    def curl(self, seconds: int = 60) -> subprocess.Popen[str]:
        url = f"http://{self.vip}/slow?seconds={seconds}"
        return self.lab.popen(
            "c1",
            ["curl", "-sS", "--max-time", "50", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def both_wait(self) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
        """Have one curl wait for s1 and one for s2."""
        curls: dict[str, subprocess.Popen[str]] = {}
        while len(curls) < 2:
            before = {each["source"] for each in self.rows("connections")}
            curl = self.curl()

            def fresh(before: set[str] = before) -> list[dict[str, Any]]:
                return [
                    each
                    for each in self.rows("connections")
                    if each["source"] not in before
                    and each["state"] == "ESTABLISHED"
                    and each["destination"] in {self.rip("s1"), self.rip("s2")}
                ]

            wait_until(fresh)
            curls[fresh()[0]["destination"]] = curl
        return curls[self.rip("s1")], curls[self.rip("s2")]

    def sockets(self, host: str) -> list[str]:
        """Return the established connections to this real server's web server."""
        family = f"-{self.version}"
        argv = ["ss", "-Htn", family, "state", "established", "sport = :80"]
        return self.lab.exec(host, argv, check=True).stdout.splitlines()


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["nat", "full_nat"])
def lab(request: pytest.FixtureRequest, capture: str) -> Iterator[Lab]:
    topology = checked(TOPOLOGIES[request.param])
    with Lab(topology, capture=capture, check_interval=INTERVAL, check_invariants=True) as made:
        yield made


@pytest.fixture(params=[4, 6])
def bed(lab: Lab, request: pytest.FixtureRequest) -> Bed:
    bed = Bed(lab, request.param)
    wait_until(lambda: all(each["healthy"] for each in bed.group().values()))
    return bed


def assert_reset(bed: Bed, curl: subprocess.Popen[str], since: float, within: float) -> float:
    """Return after how many seconds curl was told."""
    _, said = curl.communicate(timeout=20)
    took = time.monotonic() - since
    assert curl.returncode == RESET, (curl.returncode, said)
    assert "reset by peer" in said
    assert took < within
    return took


def assert_nothing_is_left(bed: Bed) -> None:
    wait_until(lambda: bed.group()[bed.rip("s1")]["active"] == 0)
    assert bed.connections(bed.rip("s1")) == []


def test_maintenance(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    ours, other = bed.both_wait()
    assert bed.sockets("s1")
    place = (f"{bed.vip}:80", bed.rip("s1"))
    started = time.monotonic()
    assert bed.lab.cli("set", *place, "--state", "maint").returncode == 0
    try:
        took = assert_reset(bed, ours, started, SOON)
        assert_nothing_is_left(bed)
        wait_until(lambda: bed.sockets("s1") == [])
        assert other.poll() is None, "the other one's server is well"
        assert bed.group()[bed.rip("s2")]["active"] == 1
    finally:
        bed.lab.cli("set", *place, "--state", "ready")
        other.kill()
    with capsys.disabled():
        print(f"\n  {bed.lab.capture} v{bed.version}: curl was told {took:.2f} s after `set`")


UPLOAD = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as ours:
    ours.connect((sys.argv[1], 80))
    ours.sendall(b"PUT /upload HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9999999999\\r\\n\\r\\n")
    try:
        while True:
            ours.sendall(bytes(100_000))
    except ConnectionResetError:
        print("reset")
"""


def test_an_upload_under_way(bed: Bed) -> None:
    """What the real server has received by then, only it can say: it is asked."""
    others = []
    argv = [sys.executable, "-c", UPLOAD, VIPS[bed.version]]
    for _ in range(2):
        others.append(bed.lab.popen("c2", argv, stdout=subprocess.PIPE, text=True))
    wait_until(lambda: bed.sockets("s1"))
    wait_until(lambda: bed.sockets("s2"))
    time.sleep(0.5)
    place = (f"{bed.vip}:80", bed.rip("s1"))
    assert bed.lab.cli("set", *place, "--state", "maint").returncode == 0
    try:
        wait_until(lambda: any(each.poll() is not None for each in others))
        (ours,) = (each for each in others if each.poll() is not None)
        assert ours.communicate() == ("reset\n", None)
        assert_nothing_is_left(bed)
        wait_until(lambda: bed.sockets("s1") == [], 3)
    finally:
        bed.lab.cli("set", *place, "--state", "ready")
        for each in others:
            each.kill()


def test_a_server_that_says_it_is_ill_is_told_too(bed: Bed) -> None:
    ours, other = bed.both_wait()
    fault = f"http://{bed.rip('s1')}/fault?status="
    bed.lab.exec("s1", ["curl", "-sS", "-X", "POST", fault + "503"], check=True)
    started = time.monotonic()
    try:
        assert_reset(bed, ours, started, INTERVAL * FALL + TIMEOUT + SOON)
        assert_nothing_is_left(bed)
        wait_until(lambda: bed.sockets("s1") == [])
        assert other.poll() is None
    finally:
        bed.lab.exec("s1", ["curl", "-sS", "-X", "POST", fault + "200"])
        other.kill()


def test_a_host_that_is_gone(bed: Bed) -> None:
    """Nobody is there to be told, and the client learns it none the later."""
    ours, other = bed.both_wait()
    for program in ("iptables", "ip6tables"):
        for chain in ("INPUT", "OUTPUT"):
            bed.lab.exec("s1", [program, "-P", chain, "DROP"], check=True)
    started = time.monotonic()
    try:
        assert_reset(bed, ours, started, INTERVAL * FALL + 2 * TIMEOUT + SOON)
        assert_nothing_is_left(bed)
        assert other.poll() is None
    finally:
        for program in ("iptables", "ip6tables"):
            for chain in ("INPUT", "OUTPUT"):
                bed.lab.exec("s1", [program, "-P", chain, "ACCEPT"], check=True)
        other.kill()
