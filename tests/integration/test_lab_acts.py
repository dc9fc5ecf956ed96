"""What is done to a lab that is up: commands as they are typed, and what comes of them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netns_lab import acts, page
from netns_lab import lab as labs
from netns_lab.errors import LabError, UnknownNameError
from netns_lab.lab import Lab
from netns_lab.programs import lb_switch
from netns_lab.state import lab_directory
from netns_lab.topologies import ECHO, NARROW, TEXTBOOK
from netns_lab.topology import with_health
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(with_health(TEXTBOOK, "http"), check_invariants=True, check_interval=0.3) as made:
        yield made


def call(lab: Lab, command: str, *arguments: str, code: int = 0) -> str:
    argv = [*lb_switch(), "lab", command, "--prefix", lab.prefix, *arguments]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == code, result.stderr
    return result.stdout + result.stderr


def health(lab: Lab, address: str, state: str) -> None:
    wait_until(
        lambda: any(
            address in line and f" {state} " in f"{line} "
            for line in lab.cli("show", "health").stdout.splitlines()
        ),
        15,
    )


def test_a_killed_server_leaves_and_comes_back(lab: Lab) -> None:
    assert call(lab, "kill", "s2") == "s2: the server is killed (SIGKILL)\n"
    assert call(lab, "kill", "10.0.2.12") == "s2: no server was running\n"
    health(lab, "10.0.2.12:80", "down")
    assert "4 answers: s1 4" in call(lab, "request", "c1", "web", "-n", "4")
    assert call(lab, "start", "s2", "s1") == (
        "s2: the server runs\ns1: the server was running already\n"
    )
    health(lab, "10.0.2.12:80", "up")
    said = call(lab, "request", "10.0.1.12", "10.0.1.100:80", "-n", "10", "--parallel", "2")
    assert said == "10.0.1.12 asks http://10.0.1.100:80/\n10 answers: s1 5, s2 5\n"


def test_a_cable_that_is_pulled(lab: Lab) -> None:
    assert call(lab, "unplug", "s2") == "s2 is unplugged\n"
    health(lab, "10.0.2.12:80", "down")
    assert "2 answers: s1 2" in call(lab, "request", "c1", "-n", "2")
    call(lab, "unplug", "c1")
    failed = call(lab, "request", "c1", code=1)
    assert "no answer\n1 failed\n" in failed
    assert call(lab, "plug", "c1", "s2") == "c1 is plugged in\ns2 is plugged in\n"
    health(lab, "10.0.2.12:80", "up")
    assert "2 answers: s1 1, s2 1" in call(lab, "request", "c1", "-n", "2")


def test_a_host_behind_a_router_is_unplugged_there() -> None:
    with Lab(with_health(NARROW, "none")) as lab:
        assert "1 answer: s2 1" in call(lab, "request", "c1", "far-web")
        acts.unplug(lab, "s2")
        (machine,) = [each for each in acts.machines(lab) if each.name == "s2"]
        assert (machine.plugged, machine.runs) == (False, True)
        acts.plug(lab, "s2")
        assert "1 answer: s2 1" in call(lab, "request", "c1", "far-web")


@pytest.mark.parametrize(
    ("fault", "finding", "standing"),
    [
        (("500",), "status 500", "answers 500"),
        (("slow", "--seconds", "2.5"), "after 1.0 s", "answers after 2.5 s"),
        (("silent",), "after 1.0 s", "answers nothing"),
    ],
)
def test_faults_are_found_and_end(
    lab: Lab, fault: tuple[str, ...], finding: str, standing: str
) -> None:
    for server, vip in (("s2", "web"), ("s3", "secure")):  # s3 speaks HTTPS only
        assert call(lab, "fault", server, *fault) == f"{server}: {standing}\n"
        address = lab.topology.host(server).addresses[0]
        health(lab, f"{address}:{80 if vip == 'web' else 443}", "down")
        assert finding in lab.cli("show", "health").stdout
        (machine,) = [each for each in acts.machines(lab) if each.name == server]
        assert machine.text == f"plugged in, the server runs, it {standing}"
        assert call(lab, "fault", server, "none") == f"{server}: answers as it should\n"
        health(lab, f"{address}:{80 if vip == 'web' else 443}", "up")


def test_a_fault_holds_on_every_port_and_survives_no_restart() -> None:
    with Lab(TEXTBOOK) as lab:
        acts.misbehave(lab, "s2", acts.Fault(status=503))
        for url in ("http://10.0.2.12/", "https://10.0.2.12/"):
            assert "503" in " ".join(lab.client("c1", "requests", url, "-n", "1")["errors"])
        acts.misbehave(lab, "s2", acts.Fault(silent=True))
        for url in ("http://10.0.2.12/", "tcp://10.0.2.12:7", "udp://10.0.2.12:7"):
            answer = lab.client("c1", "requests", url, "-n", "1", "--timeout", "1")
            assert "timed out" in answer["errors"][0], url
        acts.kill(lab, "s2")
        acts.start(lab, "s2")
        for url in ("http://10.0.2.12/", "tcp://10.0.2.12:7", "udp://10.0.2.12:7"):
            assert lab.client("c1", "requests", url, "-n", "1")["answers"] == {"s2": 1}


def test_a_steady_load(lab: Lab) -> None:
    said = call(lab, "request", "c2", "web", "--rate", "40", "--seconds", "2")
    found = re.search(r"(\d+) answers: s1 (\d+), s2 (\d+)", said)
    assert found is not None
    count, one, other = map(int, found.groups())
    assert 70 <= count <= 81
    assert abs(one - other) <= 1
    assert "s1 10.0.1.12:" in call(lab, "logs", "s1", "-n", "100")


def test_logs_are_followed_and_stay_text(lab: Lab) -> None:
    argv = [*lb_switch(), "lab", "logs", "--prefix", lab.prefix, "s1", "-n", "0", "-f"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        time.sleep(1.0)
        request = "GET /\x1b[31m HTTP/1.0\r\n\r\n"
        lab.exec("c1", [sys.executable, "-c", _SEND, "10.0.2.11", "80"], input=request, check=True)
        line = following.stdout.readline()
        while "GET /" not in line or "\\x1b" not in line:  # probes are in it, too
            line = following.stdout.readline()
        following.terminate()
    assert "\x1b" not in line
    assert "serving" in call(lab, "logs", "switch")


_SEND = (
    "import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])));"
    "s.sendall(sys.stdin.buffer.read()); s.recv(100)"
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kill", "s9"), "no server 's9' in this lab: s1, s2, s3"),
        (("kill", "c1"), "no server 'c1' in this lab: s1, s2, s3"),
        (("start", "nobody"), "no server 'nobody'"),
        (("unplug", "switch"), "no host 'switch' in this lab: c1, c2, s1, s2, s3"),
        (("request", "c9"), "no host 'c9'"),
        (("request", "c1", "wed"), "no virtual server 'wed' in this lab: web, secure"),
        (("request", "c1", "--seconds", "3"), "--seconds needs --rate"),
        (("request", "c1", "-n", "3", "--rate", "3"), "--rate goes with --seconds"),
        (("fault", "s1", "700"), "'700' is none of slow, silent, none, nor a status"),
        (("fault", "s1", "broken"), "'broken' is none of"),
        (("logs", "nobody"), "no host 'nobody'"),
        (("kill",), "Missing argument"),
    ],
)
def test_wrong_words_are_bad_usage(module_lab: Lab, arguments: tuple[str, ...], said: str) -> None:
    command, *others = arguments
    assert said in call(module_lab, command, *others, code=2)


def test_a_client_has_no_log(module_lab: Lab) -> None:
    assert "c1 runs no program that writes a log" in call(module_lab, "logs", "c1", code=1)


def test_without_a_lab(module_lab: Lab) -> None:
    for command in ("kill", "logs", "plug"):
        argv = [*lb_switch(), "lab", command, "--prefix", "nothere-", "s1"]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (
            2,
            "lb-switch: no lab nothere- is up (lb-switch lab up)\n",
        )


def test_a_topology_of_ones_own_is_attached_to() -> None:
    hosts = tuple(
        replace(host, services=ECHO) if host.name == "s1" else host for host in TEXTBOOK.hosts
    )
    topology = replace(TEXTBOOK, name="mine", summary="mine", hosts=hosts, virtual_servers=())
    with Lab(topology, switch=False) as lab:
        attached = labs.attach(lab.prefix)
        assert attached.topology == topology
        with pytest.raises(LabError, match="s1 speaks neither HTTP nor HTTPS"):
            acts.misbehave(attached, "s1", acts.Fault(status=500))
        with pytest.raises(UnknownNameError, match="no server 's9'"):
            attached.kill_server("s9")
        with pytest.raises(UnknownNameError, match="no server 's9'"):
            attached.start_server("s9")


def test_lab_up_with_its_page(lab: Lab) -> None:
    prefix = f"{lab.prefix[:-1]}w-"
    argv = [*lb_switch(), "lab", "up", "--prefix", prefix, "--web"]
    try:
        result = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
        found = re.search(r"the page is at (http://127\.0\.0\.1:\d+/\?token=\S+)", result.stdout)
        assert found is not None
        address = found[1]
        log = lab_directory(prefix) / page.LOG
        assert stat.S_IMODE(os.stat(log).st_mode) == 0o600, "the token is nobody else's"
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(address, timeout=10) as opened:
            assert "<title>lb-switch</title>" in opened.read().decode()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(address.partition("?")[0], timeout=10)
        again = subprocess.run(
            [*lb_switch(), "lab", "show", "--prefix", prefix],
            capture_output=True,
            text=True,
            check=True,
        )
        assert address in again.stdout
    finally:
        assert labs.down(prefix)
    with pytest.raises(urllib.error.URLError):
        opener.open(address, timeout=5)
