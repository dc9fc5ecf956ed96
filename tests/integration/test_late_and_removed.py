"""What clients see when a connection is forgotten, or its real server removed, while it lives."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from lb_switch.control.client import ControlClient
from netns_lab import readiness
from netns_lab.lab import Lab
from netns_lab.programs import environment, lb_switch
from netns_lab.topologies import SWITCH

pytestmark = pytest.mark.netns

VIP, S1, S2 = "10.0.1.100:7000", "10.0.2.11:7000", "10.0.2.12:7000"

CONFIG = """
[switch]
control_socket = "{socket}"
capture = "{capture}"
timeouts.close_wait = 1
timeouts.udp = 1

[[virtual_server]]
name = "tcp"
address = "10.0.1.100:7000"
real_server = [{{address = "10.0.2.11:7000"}}, {{address = "10.0.2.12:7000"}}]

[[virtual_server]]
name = "udp"
address = "10.0.1.100:7000"
protocol = "udp"
real_server = [{{address = "10.0.2.11:7000"}}, {{address = "10.0.2.12:7000"}}]
"""

SERVER = """
import socket, sys, threading, time

def linger(peer):
    while data := peer.recv(100):
        peer.send(data)
    time.sleep(7)
    peer.send(b"late")
    time.sleep(3)

def tcp():
    listening = socket.create_server((sys.argv[1], 7000))
    print("ready", flush=True)
    while True:
        threading.Thread(target=linger, args=(listening.accept()[0],), daemon=True).start()

threading.Thread(target=tcp, daemon=True).start()
answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answering.bind((sys.argv[1], 7000))

def late(client):
    time.sleep(7)
    answering.sendto(b"late", client)

while True:
    data, client = answering.recvfrom(100)
    answering.sendto(sys.argv[1].encode(), client)
    if data == b"and later":
        threading.Thread(target=late, args=(client,), daemon=True).start()
"""

HALF_CLOSED = """
import json, socket, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0800))
wire.settimeout(0.2)
tcp = socket.create_connection(("10.0.1.100", 7000))
tcp.send(b"hello"); tcp.recv(100); tcp.send(b"hello"); tcp.recv(100)
tcp.shutdown(socket.SHUT_WR)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("10.0.1.100", 7000))
for question in (b"one", b"two", b"and later"):
    udp.send(question); udp.recv(100)
sources, end = [], time.monotonic() + 9
while time.monotonic() < end:
    try:
        frame = wire.recv(2000)
    except TimeoutError:
        continue
    sources.append(socket.inet_ntoa(frame[26:30]))
print(json.dumps(sorted(set(sources))))
"""

LIVE = """
import json, socket, sys
tcp = socket.create_connection(("10.0.1.100", 7000))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("10.0.1.100", 7000))
udp.settimeout(5); tcp.settimeout(5)

def ask():
    udp.send(b"who"); who = udp.recv(100).decode()
    try:
        tcp.send(b"hello"); there = tcp.recv(100).decode()
    except ConnectionError:
        there = "reset"
    print(json.dumps([who, there]), flush=True)

ask()
for line in sys.stdin:
    ask()
"""


class Bed:
    """A switch, two servers that echo, and a client."""

    def __init__(self, lab: Lab, capture: str) -> None:
        self.lab = lab
        path = lab.directory / "switch.toml"
        path.write_text(CONFIG.format(socket=lab.control_socket, capture=capture))
        with (lab.directory / "switch.log").open("wb") as log:
            self.process = lab.popen(
                SWITCH,
                [*lb_switch(), "run", str(path), "--check-invariants"],
                stdout=log,
                stderr=log,
                env=environment(lab.directory),
            )
        for host, address in (("s1", "10.0.2.11"), ("s2", "10.0.2.12")):
            server = self.python(host, SERVER, address)
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        assert readiness.switch_serves(lab.control_socket, self.process, time.monotonic() + 20)

    def python(self, host: str, script: str, *arguments: str) -> subprocess.Popen[Any]:
        argv = [sys.executable, "-c", script, *arguments]
        return self.lab.popen(host, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, verb: str, **fields: object) -> Any:
        with ControlClient(self.lab.control_socket) as control:
            return control.ask(verb, **fields)


@pytest.fixture(params=["tun", "nfqueue"])
def bed(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Bed:
    return Bed(make_lab(switch=False), request.param)


def test_no_late_packet_shows_the_real_server(bed: Bed) -> None:
    client = bed.python("c1", HALF_CLOSED)
    output, _ = client.communicate(timeout=60)
    sources = set(json.loads(output))
    assert "10.0.1.100" in sources, "the observer sees"
    assert not {source for source in sources if source.startswith("10.0.2.")}
    assert bed.ask("show", what="stats")["packets"]["ended_connection"] >= 2


def test_removed_now_lets_go_at_once(bed: Bed) -> None:
    client = bed.python("c1", LIVE)
    assert client.stdin is not None
    assert client.stdout is not None
    assert json.loads(client.stdout.readline()) == ["10.0.2.11", "hello"]
    for protocol in ("tcp", "udp"):
        lines = bed.ask("remove", virtual_server=VIP, real_server=S1, protocol=protocol, live="now")
        assert lines == [
            f"{protocol}: real server {S1} removed",
            f"{protocol}: connections to {S1}: 1, by on_down = 'reset'",
        ]
    client.stdin.write(b"\n")
    client.stdin.flush()
    assert json.loads(client.stdout.readline()) == ["10.0.2.12", "reset"]
    client.stdin.close()
    assert client.wait(10) == 0
