"""What the switch was built for, in the amounts it was built for, under both captures."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_switch.config.build import build
from lb_switch.config.load import load
from lb_switch.files.pcap import open_capture
from lb_switch.files.record import CapturedPacket
from lb_switch.replay import Replay
from netns_lab.lab import Lab
from netns_lab.topologies import ECHO_LAB
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

VIP = "10.0.1.100"
CLIENT_ADDRESSES = {"c1": "10.0.1.11", "c2": "10.0.1.12"}


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def balanced(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The echo lab, its switch running, once for each capture."""
    with Lab(ECHO_LAB, capture=request.param, check_invariants=True) as lab:
        yield lab


def test_three_hundred_connections_at_once(balanced: Lab) -> None:
    """The first test of the lab: no port of the client's is in use, so none clashes."""
    result = balanced.client("c2", "connections", f"https://{VIP}/", "-n", "300", timeout=120)
    assert result["errors"] == []
    assert (result["held"], result["moved"]) == (300, 0)
    assert result["answers"] == {"s2": 150, "s3": 150}


@pytest.mark.parametrize(
    ("client", "url", "group"),
    [
        ("c1", f"http://{VIP}/?n=[1-1000]", {"s1", "s2"}),
        ("c2", f"https://{VIP}/?n=[1-1000]", {"s2", "s3"}),
    ],
)
def test_a_thousand_requests_of_curl(balanced: Lab, client: str, url: str, group: set[str]) -> None:
    """Each on a connection of its own, shared to within one; servers see the client's address."""
    argv = ["curl", "-sSk", "-H", "Connection: close", "-w", "\n", url]
    result = balanced.exec(client, argv, timeout=120, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines() if line]
    assert len(answers) == 1000
    share = Counter(answer["server"] for answer in answers)
    assert set(share) == group
    assert max(share.values()) - min(share.values()) <= 1
    seen = {answer["client"].rpartition(":")[0] for answer in answers}
    assert seen == {CLIENT_ADDRESSES[client]}
    assert VIP not in {answer["reached_at"].rpartition(":")[0] for answer in answers}


def test_a_random_file_of_200_megabytes(balanced: Lab, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    with sent.open("wb") as file:
        for _ in range(200):
            file.write(random.randbytes(1_000_000))
    # TCP echo at port 7: what comes back went through the switch twice.
    program = """
import socket, sys, threading
with socket.create_connection((sys.argv[1], 7)) as peer, open(sys.argv[3], "wb") as got:
    def send():
        with open(sys.argv[2], "rb") as sent:
            peer.sendfile(sent)
        peer.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    while data := peer.recv(1 << 20):
        got.write(data)
    sender.join()
"""
    argv = ["python3", "-c", program, VIP, str(sent), str(got)]
    balanced.exec("c1", argv, timeout=200, check=True)
    assert got.stat().st_size == 200_000_000
    balanced.exec("c1", ["cmp", str(sent), str(got)], check=True)
    sent.unlink()
    got.unlink()


def test_ten_thousand_datagrams(balanced: Lab) -> None:
    seed = random.Random(7)
    sizes = [0, 1, 1472, 1473, 60_000] + [seed.randrange(60_001) for _ in range(9_995)]
    for begin in range(0, len(sizes), 2_500):
        part = sizes[begin : begin + 2_500]
        text = ",".join(map(str, part))
        result = balanced.client("c2", "udp", f"{VIP}:7", "--sizes", text, timeout=120)
        assert (result["errors"], result["echoed"]) == ([], part)


def without_identification(packet: bytes) -> bytes:
    """Leave out what a live switch draws at random: the identification of what may be cut."""
    if packet[0] >> 4 != 4 or packet[6] & 0x40:
        return packet
    return packet[:4] + packet[6:10] + packet[12:]


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_the_replay_of_real_traffic_gives_the_same_bytes(capture: str, tmp_path: Path) -> None:
    """Both copies of every packet were written live; the replay makes the second of the first."""
    file = tmp_path / "both.pcapng"
    with Lab(ECHO_LAB, capture=capture) as lab:
        lab.stop_switch()
        argv = [sys.executable, "-m", "lb_switch", "run", str(lab.config_path)]
        switch = lab.popen("switch", [*argv, "--write-pcap", str(file)])
        wait_until(lambda: lab.cli("show").returncode == 0)
        for url in (f"http://{VIP}/", f"https://{VIP}/"):
            assert lab.client("c1", "requests", url, "-n", "10")["errors"] == []
            assert lab.client("c2", "transfer", url, "--bytes", "300000")["errors"] == []
        udp = lab.client("c2", "udp", f"{VIP}:7", "--sizes", "0,1,1472,5000,60000")
        assert udp["errors"] == []
        assert lab.client("c1", "requests", f"http://{VIP}:81/", "-n", "1")["errors"] != []
        lab.exec("c1", ["ping", "-c", "1", VIP], check=True)
        live = json.loads(lab.cli("show", "stats", "--json").stdout)["packets"]
        switch.terminate()
        assert switch.wait(timeout=30) == 0
        config = load(lab.config_path)
    with open_capture(file) as reader:
        written = iter(list(reader))

    def arrivals() -> Iterator[CapturedPacket]:
        yield from written

    replay = Replay(build(config), arrivals())
    compared = 0
    for result in replay:
        for sent in result.sent:
            expected = next(written).data
            same = without_identification(sent.data) == without_identification(expected)
            assert same, (result.number, result.verdict)
            compared += 1
    assert compared > 400
    # What the hosts say to each other may still have come between the figures and the end.
    ignored = {"not_for_the_switch", "not_ip"}
    replayed = {why: n for why, n in replay.summary().items() if why not in ignored and n}
    assert replayed == {why: n for why, n in live.items() if why not in ignored and n}
    assert {"new_connection", "known_connection", "fragment", "echo_to_vip"} <= set(replayed)
