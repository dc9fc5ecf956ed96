"""What a real server sends after its connection was forgotten reaches no client, live."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_switch.config.schema import Timeouts
from tests.support.rig import (
    SERVERS,
    SERVERS6,
    TCP_VIP,
    TCP_VIP6,
    UDP_VIP,
    UDP_VIP6,
    VIP,
    VIP6,
    Rig,
    built,
    inside,
)

pytestmark = pytest.mark.netns
both = pytest.mark.parametrize("capture", ["tun", "nfqueue"])
ALL_IP = 3
FAMILIES = {4: (VIP, SERVERS[0]), 6: (VIP6, SERVERS6[0])}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with built(tmp_path) as made:
        groups = (TCP_VIP, UDP_VIP, TCP_VIP6, UDP_VIP6)
        timeouts = "\n".join(f"{state} = 1.5" for state in Timeouts.model_fields)
        made.configure(
            *(each._replace(real_servers=each.real_servers[:1]) for each in groups),
            settings=f"[switch.timeouts]\n{timeouts}",
        )
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
    rig: Rig, capture: str, version: int, kind: socket.SocketKind
) -> None:
    vip, rip = FAMILIES[version]
    switch = rig.start(capture)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    hidden = socket.inet_pton(family, rip)
    with inside(rig.client):
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_IP))
    with sniffer:
        if kind == socket.SOCK_STREAM:
            with rig.listen(rip) as listener, rig.connect(vip) as client:
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
            server = rig.open_socket(rig.server, kind, family)
            client = rig.open_socket(rig.client, kind, family)
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
