"""What a real server sends after its connection was forgotten reaches no client, live."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.capture.lab import (
    SERVERS,
    SERVERS6,
    TCP_VIP,
    TCP_VIP6,
    UDP_VIP,
    VIP,
    VIP6,
    Lab,
    built,
    inside,
)

pytestmark = pytest.mark.netns
both = pytest.mark.parametrize("capture", ["tun", "nfqueue"])
UDP_VIP6 = [f"[{VIP6}]:53", 17, [f"[{ip}]:5353" for ip in SERVERS6]]
ALL_IP = 3
FAMILIES = {4: (VIP, SERVERS[0]), 6: (VIP6, SERVERS6[0])}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with built(tmp_path) as made:
        vips: list[Any] = [TCP_VIP, UDP_VIP, TCP_VIP6, UDP_VIP6]
        made.configure(*([vip, protocol, [real]] for vip, protocol, (real, _) in vips))
        yield made


def sources(sniffer: socket.socket, seconds: float) -> set[bytes]:
    """Return the source addresses of what reaches the client in this time."""
    found = set()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        sniffer.settimeout(left)
        try:
            packet = sniffer.recv(2000)
        except TimeoutError:
            break
        found.add(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24])
    return found


@both
@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_late_answer_shows_no_real_server(
    lab: Lab, capture: str, version: int, kind: socket.SocketKind
) -> None:
    vip, rip = FAMILIES[version]
    switch = lab.start(capture, TIMEOUT="1.5")
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    hidden = socket.inet_pton(family, rip)
    with inside(lab.client):
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_IP))
    with sniffer:
        if kind == socket.SOCK_STREAM:
            with lab.listen(rip) as listener, lab.connect(vip) as client:
                server = listener.accept()[0]
                client.sendall(b"question")
                assert server.recv(100) == b"question"
                server.sendall(b"an answer in time")
                assert client.recv(100) == b"an answer in time"
                client.shutdown(socket.SHUT_WR)
                assert server.recv(100) == b""
                time.sleep(4)
                sources(sniffer, 0.1)
                server.sendall(b"too late")
                assert hidden not in sources(sniffer, 1.5)
                server.close()
        else:
            server = lab.open_socket(lab.server, kind, family)
            client = lab.open_socket(lab.client, kind, family)
            with server, client:
                server.bind((rip, 5353))
                client.sendto(b"question", (vip, 53))
                _, peer = server.recvfrom(100)
                server.sendto(b"an answer in time", peer)
                assert client.recv(100) == b"an answer in time"
                time.sleep(4)
                sources(sniffer, 0.1)
                server.sendto(b"too late", peer)
                assert hidden not in sources(sniffer, 1.5)
    assert switch.stop()["ended_connection"] > 0
