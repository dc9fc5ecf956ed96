"""Subscribers of a switch under load: a fast one, a slow one and a dead one.

LB_SWITCH_SUBSCRIBE_SECONDS (environment): for how long 1,000 connections a second come (8).
"""

from __future__ import annotations

import json
import os
import socket
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lb_switch.stream.picture import Picture
from lb_switch.stream.schema import ConnectionRecord, DroppedRecord, Header, decode
from netns_lab.lab import Lab
from netns_lab.topologies import ECHO_LAB

pytestmark = pytest.mark.netns

SECONDS = float(os.environ.get("LB_SWITCH_SUBSCRIBE_SECONDS", "8"))
RATE = 1000

LOAD = """
    # SYNs of this host's own ports by a raw socket: the kernel answers each SYN/ACK with a RST, so
    # that every connection opens, is closed, and leaves the table a little later.
    import socket, struct, sys, time
    seconds, rate = map(float, sys.argv[1:])
    source, vip = socket.inet_aton("10.0.1.11"), socket.inet_aton("10.0.1.100")
    sending = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    sending.bind(("10.0.1.11", 0))

    def checksum(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total ^ 0xFFFF

    begin, sent = time.monotonic(), 0
    while (now := time.monotonic() - begin) < seconds:
        while sent < now * rate:
            port = 2000 + sent % 60000
            head = struct.pack("!HHIIBBHHH", port, 80, sent, 0, 0x50, 2, 512, 0, 0)
            pseudo = source + vip + struct.pack("!HH", 6, 20)
            head = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
            sending.sendto(head, ("10.0.1.100", 0))
            sent += 1
        time.sleep(0.001)
    print(sent)
"""
LATENCY = """
    import socket, sys, time
    seconds = float(sys.argv[1])
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.connect(("10.0.1.100", 7))
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            sent = time.perf_counter()
            asking.send(b"ping")
            asking.recv(100)
            times.append(time.perf_counter() - sent)
            time.sleep(0.002)
    times.sort()
    print(len(times), times[len(times) // 2], times[len(times) * 99 // 100])
"""


class Subscriber(threading.Thread):
    """Reads the stream: `pause` seconds after every piece of `piece` bytes."""

    def __init__(self, path: Path, piece: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._piece, self._pause = piece, pause
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        request = {"version": 1, "verb": "subscribe", "kinds": ["connections", "servers"]}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        self.socket.settimeout(0.2)
        self.data = bytearray()
        self.in_a_hurry = False
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            try:
                self.data += self.socket.recv(1 << 20 if self.in_a_hurry else self._piece)
            except TimeoutError:
                continue
            if self._pause and not self.in_a_hurry:
                time.sleep(self._pause)

    @property
    def lines(self) -> list[bytes]:
        return bytes(self.data).split(b"\n")[:-1]


def run_load(lab: Lab) -> tuple[int, float]:
    """Return how many SYNs were sent, and the 99th percentile of an echo's round trip meanwhile."""
    argv = ["python", "-c", textwrap.dedent(LOAD), str(SECONDS), str(RATE)]
    load = lab.popen("c1", argv, stdout=-1, text=True)
    latency = ["python", "-c", textwrap.dedent(LATENCY), str(SECONDS - 1)]
    said = lab.exec("c2", latency, check=True, timeout=SECONDS + 30).stdout.split()
    return int(load.communicate(timeout=SECONDS + 30)[0]), float(said[2])


def shown(lab: Lab, what: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(lab.cli("show", what, "--json").stdout)
    return rows


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.timeout(400)
def test_a_fast_a_slow_and_a_dead_subscriber(record_property: Any) -> None:
    with Lab(ECHO_LAB) as lab:
        run_load(lab)
        time.sleep(12)  # until all of it has left the table
        sent, alone = run_load(lab)
        time.sleep(12)
        stats = json.loads(lab.cli("show", "stats", "--json").stdout)
        before = resident(stats["pid"])
        fast = Subscriber(lab.control_socket, 1 << 20, 0.0)
        slow = Subscriber(lab.control_socket, 4096, 0.05)
        dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        dead.connect(str(lab.control_socket))
        dead.sendall(b'{"version":1,"verb":"subscribe"}\n')
        for each in (fast, slow):
            each.start()
        sent, watched = run_load(lab)
        grown = resident(stats["pid"]) - before
        slow.in_a_hurry = True
        time.sleep(3)
        # One more event, behind everything that was lost: its count comes before it.
        lab.exec("c2", ["curl", "-s", "-m", "5", "http://10.0.1.100/"], check=True)
        time.sleep(1)
        connections, groups = shown(lab, "connections"), shown(lab, "virtual_servers")
        for each in (fast, slow):
            each.stopping = True
            each.join()
        told = [decode(line) for line in fast.lines[1:]]
        picture = Picture(Header.model_validate_json(fast.lines[0]))
        for record in told:
            picture.learn(record)
        dead.close()
        for each in (fast, slow):
            each.socket.close()
    print(
        f"\n{sent} SYNs in {SECONDS:g} s; p99 {1000 * alone:.2f} ms alone, "
        f"{1000 * watched:.2f} ms with subscribers; memory +{grown / 1e6:.1f} MB; "
        f"{len(told)} events"
    )
    assert sent > 0.8 * SECONDS * RATE
    assert picture.missed == 0
    # Those that leave between the two looks are few, and all of them are closed ones.
    mine = {each.entry.client: each.state for each in picture.connections.values()}
    theirs = {row["source"]: row["state"] for row in connections if row["protocol"] == "tcp"}
    differing = {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}
    assert all(theirs.get(key, "CLOSE") in {"CLOSE", "UDP"} for key in differing)
    assert len(differing) <= 2 * RATE
    totals = [server["connections"] for group in groups for server in group["real_servers"]]
    assert totals == [
        server["connections"] for group in picture.rows() for server in group["real_servers"]
    ]
    records = [decode(line) for line in slow.lines[1:]]
    missed = sum(each.count for each in records if isinstance(each, DroppedRecord))
    heard = sum(isinstance(each, ConnectionRecord) for each in records)
    of_fast = sum(isinstance(each, ConnectionRecord) for each in told)
    assert missed > 0
    assert abs(heard + missed - of_fast) <= 2 * RATE  # what came after one of them had stopped
    assert grown < 60e6
    assert watched < max(3 * alone, 0.02)
