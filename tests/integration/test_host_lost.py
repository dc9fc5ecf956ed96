"""What the host takes away from a running switch comes back by itself."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import DUAL_STACK
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

URLS = ("http://10.0.1.100/", "http://[2001:db8:1::100]/")
WITHIN = 2.0
FLAPPING = float(os.environ.get("LB_SWITCH_FLAP_SECONDS", "20"))
"""For how long an interface flaps; 600 is what is promised."""

# An interface that goes down loses its IPv6 addresses; who puts it up gives them back.
CLIENTS6 = "ip addr add 2001:db8:1::1/64 dev {} nodad 2>/dev/null || true"
SERVERS6 = "ip addr add 2001:db8:2::1/64 dev {} nodad 2>/dev/null || true"
CASES = {
    "the clients' interface goes down and up": (
        "both",
        "ip link set clients down; sleep 0.3; ip link set clients up; "
        + CLIENTS6.format("clients"),
    ),
    "the servers' interface goes down and up": (
        "both",
        "ip link set servers down; sleep 0.3; ip link set servers up; "
        + SERVERS6.format("servers"),
    ),
    "the clients' interface is renamed": (
        "both",
        "ip link set clients down; ip link set clients name wan0; ip link set wan0 up; "
        + CLIENTS6.format("wan0"),
    ),
    "the servers' interface is renamed": (
        "both",
        "ip link set servers down; ip link set servers name lan0; ip link set lan0 up; "
        + SERVERS6.format("lan0"),
    ),
    "an address goes and comes back": (
        "both",
        "ip addr del 10.0.1.1/24 dev clients; ip addr del 2001:db8:1::1/64 dev clients; sleep 0.2;"
        " ip addr add 10.0.1.1/24 dev clients; " + CLIENTS6.format("clients"),
    ),
    "the address by which the VIP's route speaks is another": (
        "both",
        (
            "ip addr add 10.0.1.3/24 dev clients; ip addr del 10.0.1.1/24 dev clients;"
            " ip addr add 10.0.1.1/24 dev clients"
        ),
    ),
    "policy rules are deleted": (
        "tun",
        (
            "for p in 50 51 52 53; do for f in -4 -6; do"
            " while ip $f rule del priority $p 2>/dev/null; do :; done; done; done"
        ),
    ),
    "routes are deleted": (
        "tun",
        (
            "ip route flush proto 176; ip -6 route flush proto 176; ip route flush table 7450;"
            " ip -6 route flush table 7450"
        ),
    ),
    "proxy neighbours are deleted": (
        "both",
        "ip neigh del proxy 10.0.1.100 dev clients; ip neigh del proxy 2001:db8:1::100 dev clients",
    ),
    "chains are flushed": (
        "nfqueue",
        "for p in iptables ip6tables; do for t in raw mangle; do $p -t $t -F; done; done",
    ),
    "chains are deleted": (
        "nfqueue",
        (
            "for p in iptables ip6tables; do for t in raw mangle; do"
            " $p -t $t -F; $p -t $t -X; done; done"
        ),
    ),
    "a firewall is restored without them": (
        "nfqueue",
        (
            "for p in iptables ip6tables; do"
            " printf '*raw\\nCOMMIT\\n*mangle\\nCOMMIT\\n' | $p-restore; done"
        ),
    ),
    "forwarding is switched off": (
        "both",
        "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
    ),
    "reverse path filtering is strict": (
        "tun",
        "sysctl -qw net.ipv4.conf.clients.rp_filter=1 net.ipv4.conf.servers.rp_filter=1",
    ),
}
SILENT = "the servers' interface goes down"
"""Nothing of the switch's goes along with it."""
MATRIX = [
    pytest.param(capture, script, id=f"{capture}: {name}")
    for name, (where, script) in CASES.items()
    for capture in ("tun", "nfqueue")
    if where in {capture, "both"}
]


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(DUAL_STACK, capture=request.param, check_invariants=True) as made:
        yield made


def answers(lab: Lab, url: str, seconds: str = "1") -> bool:
    argv = ["curl", "-s", "-o", "/dev/null", "--max-time", seconds, url]
    return lab.exec("c1", argv).returncode == 0


def forget_neighbours(lab: Lab) -> None:
    lab.exec("c1", ["sh", "-c", "ip neigh flush all; ip -6 neigh flush all"])


def log_of(lab: Lab) -> list[str]:
    lines = (lab.directory / "switch.log").read_text().splitlines()
    return [line for line in lines if line.startswith("lb-switch: host: ")]


def snapshot(lab: Lab) -> str:
    script = (
        "ip rule; ip -6 rule; ip -N neigh show proxy; ip route show table all proto 176;"
        " ip -6 route show table all proto 176; iptables-save; ip6tables-save"
    )
    text = lab.exec("switch", ["sh", "-c", script]).stdout
    return "\n".join(line for line in text.splitlines() if not re.match(r"[#:]|\*|COMMIT", line))


@pytest.mark.parametrize(("lab", "script"), MATRIX, indirect=["lab"])
def test_it_comes_back(lab: Lab, script: str, request: pytest.FixtureRequest) -> None:
    assert all(answers(lab, url) for url in URLS)
    lab.stop_switch()
    before = snapshot(lab)
    lab.start_switch()
    lab.exec("switch", ["sh", "-c", script])
    changed = time.monotonic()
    for url in URLS:
        while True:
            forget_neighbours(lab)
            if answers(lab, url, "0.5"):
                break
            late = time.monotonic() - changed
            assert late < WITHIN + 0.5, f"{url}: no answer {late:.1f} s after the change"
    if SILENT not in request.node.name:
        wait_until(lambda: bool(log_of(lab)), 3)  # something says so
    host = json.loads(ask(lab, "host"))
    assert host["amiss"] == []
    lab.stop_switch()
    after = snapshot(lab)
    assert after == before, "nothing is left"


def ask(lab: Lab, what: str) -> str:
    code = (
        "import json, sys; from pathlib import Path;"
        "from lb_switch.control.client import ControlClient;"
        "print(json.dumps(ControlClient(Path(sys.argv[1])).ask('show', what=sys.argv[2])))"
    )
    argv = ["python", "-P", "-c", code, str(lab.control_socket), what]
    return lab.exec("switch", argv, check=True).stdout


@pytest.mark.parametrize("lab", ["tun", "nfqueue"], indirect=True)
def test_one_event_and_one_line_for_each_loss(lab: Lab) -> None:
    events: list[dict[str, Any]] = []
    argv = ["lb-switch", "events", "servers"]
    telling = lab.popen("switch", argv, stdout=-1, text=True)

    def read() -> None:
        assert telling.stdout is not None
        for line in telling.stdout:
            event = json.loads(line)
            if event.get("event") == "host":
                events.append(event)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    time.sleep(1)
    for number in range(1, 4):
        lab.exec("switch", ["ip", "neigh", "del", "proxy", "10.0.1.100", "dev", "clients"])
        wait_until(lambda: len(events) == number, 10)  # noqa: B023
        time.sleep(1.2)
        assert [each["what"] for each in events] == ["restored"] * number
        assert len(log_of(lab)) == number
    assert events[0]["lines"] == ["proxy neighbour 10.0.1.100 dev clients proxy proto 176"]
    assert log_of(lab)[0] == (
        "lb-switch: host: put back what was missing on the host:"
        " proxy neighbour 10.0.1.100 dev clients proxy proto 176"
    )
    telling.terminate()
    telling.wait(10)


@pytest.mark.parametrize("lab", ["tun"], indirect=True)
def test_it_does_not_fight(lab: Lab) -> None:
    """Rules that somebody deletes for ever are left to him; a parameter, the second time."""
    fight = "while :; do ip rule del priority 53 2>/dev/null; sleep 0.3; done"
    other = lab.popen("switch", ["sh", "-c", fight])
    wait_until(lambda: any("left to them" in line for line in log_of(lab)), 20)
    known = len(log_of(lab))
    time.sleep(3)
    assert len(log_of(lab)) <= known + 1, "it has given up"
    assert "Host: missing on the host" in lab.cli("show").stdout
    doctor = lab.cli("doctor", str(lab.config_path)).stdout
    (line,) = [each for each in doctor.splitlines() if "the switch's part of the host" in each]
    assert "rule 53:" in line
    other.kill()
    other.wait()
    for _ in range(2):
        lab.exec("switch", ["sysctl", "-qw", "net.ipv4.conf.servers.rp_filter=1"])
        time.sleep(1.8)
    value = lab.exec("switch", ["sysctl", "-n", "net.ipv4.conf.servers.rp_filter"]).stdout
    assert value == "1\n", "somebody wants it so"
    assert any("rp_filter" in line and "left to them" in line for line in log_of(lab))


@pytest.mark.parametrize("lab", ["tun", "nfqueue"], indirect=True)
def test_an_interface_that_flaps(lab: Lab) -> None:
    """Traffic whenever the link is up, and nobody gives up."""
    stop = time.monotonic() + FLAPPING
    failures: list[str] = []
    rounds = 0
    while time.monotonic() < stop:
        rounds += 1
        lab.exec("switch", ["ip", "link", "set", "clients", "down"])
        time.sleep(1.0)
        lab.exec("switch", ["ip", "link", "set", "clients", "up"])
        lab.exec("switch", ["sh", "-c", CLIENTS6.format("clients")])
        time.sleep(WITHIN / 2)
        forget_neighbours(lab)
        answer = lab.client("c1", "requests", URLS[0], "-n", "100", "--timeout", "1")
        failures += answer["errors"]
    assert failures == []
    assert not any("left to them" in line for line in log_of(lab))
    assert rounds >= FLAPPING / 5


@pytest.mark.parametrize("lab", ["tun"], indirect=True)
def test_an_interface_that_comes_later_is_taken_in(lab: Lab) -> None:
    script = (
        "ip link add late type veth peer name late0; ip addr add 10.0.9.1/24 dev late;"
        " ip link set late up; ip link set late0 up; ip addr add 10.0.1.65/26 dev late"
    )
    lab.exec("switch", ["sh", "-ec", script], check=True)

    def proxies() -> str:
        return lab.exec("switch", ["ip", "-N", "neigh", "show", "proxy"]).stdout

    wait_until(lambda: "10.0.1.100 dev late proxy" in proxies(), 5)
    lab.exec("switch", ["ip", "link", "del", "late"], check=True)
    wait_until(lambda: "dev late" not in proxies(), 5)
    assert all(answers(lab, url) for url in URLS)


@pytest.mark.parametrize("lab", ["tun", "nfqueue"], indirect=True)
def test_a_keeper_that_dies_is_started_again_and_goes_with_the_switch(lab: Lab) -> None:
    pid = json.loads(ask(lab, "host"))["keeper"]
    os.kill(pid, 9)
    wait_until(lambda: json.loads(ask(lab, "host"))["keeper"] not in {None, pid}, 10)
    lab.exec("switch", ["ip", "neigh", "del", "proxy", "10.0.1.100", "dev", "clients"])
    wait_until(lambda: any("put back" in line for line in log_of(lab)), 10)
    assert answers(lab, URLS[0], "3")
    pid = json.loads(ask(lab, "host"))["keeper"]
    lab.stop_switch()
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("lab", ["tun", "nfqueue"], indirect=True)
def test_a_vip_that_appears_is_announced_three_times(lab: Lab) -> None:
    lab.stop_switch()
    argv = ["tcpdump", "-lnni", "eth0", "arp or icmp6"]
    watching = lab.popen("c2", argv, stdout=-1, stderr=-1, text=True)
    time.sleep(1)
    lab.start_switch()
    time.sleep(4.5)
    watching.terminate()
    seen, _ = watching.communicate(timeout=10)
    lines = seen.splitlines()
    arp = [line for line in lines if "who-has 10.0.1.100 tell 10.0.1.100" in line]
    told = [line for line in lines if "2001:db8:1::100 > ff02::1: ICMP6, neighbor adv" in line]
    assert (len(arp), len(told)) == (3, 3)
    before = lab.exec("c2", ["ip", "neigh", "show", "2001:db8:1::100"]).stdout
    assert "FAILED" not in before
