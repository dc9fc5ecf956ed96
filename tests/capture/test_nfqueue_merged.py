"""Packets that the host keeps merged pass the queue as they are, and come out right."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rig import SERVERS, TCP_VIP, VIP, Rig, background, built

UDP_SEGMENT = 103
"""Of linux/udp.h: one `send` is many datagrams of this size, merged on their way."""
MEGABYTES = 40
FULL_SEGMENTS = MEGABYTES * (1 << 20) // 1448

pytestmark = pytest.mark.netns


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with built(tmp_path) as made:
        yield made


@pytest.fixture
def firewall(rig: Rig) -> None:
    """As many have it.  It makes conntrack check TCP's and UDP's checksums."""
    invalid = ("-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    rig.run(rig.switch, "iptables", "-A", "FORWARD", *invalid)


@pytest.mark.usefixtures("firewall")
@pytest.mark.parametrize("upload", [True, False])
def test_bulk_passes_merged_and_a_firewall_finds_nothing_wrong(rig: Rig, upload: bool) -> None:
    rig.configure(TCP_VIP)
    block = os.urandom(1 << 20)
    received = hashlib.sha256()

    def send(connection: socket.socket) -> None:
        for _ in range(MEGABYTES):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)

    with rig.listen(SERVERS[0]) as listener:
        switch = rig.start("nfqueue")
        with rig.connect(timeout=60) as client:
            served, _ = listener.accept()
            with served:
                sender, receiver = (client, served) if upload else (served, client)
                with background(send, sender):
                    while data := receiver.recv(1 << 20):
                        received.update(data)
    assert received.hexdigest() == hashlib.sha256(block * MEGABYTES).hexdigest()
    assert switch.stop()["known_connection"] < FULL_SEGMENTS


@pytest.mark.parametrize("firewall_too", [False, True])
def test_merged_datagrams_come_out_as_they_were_before(
    rig: Rig, firewall_too: bool, request: pytest.FixtureRequest
) -> None:
    if firewall_too:
        # Their checksum is partial where it looks: they pass only if it trusts checksums.
        request.getfixturevalue("firewall")
        trusting = "echo 0 > /proc/sys/net/netfilter/nf_conntrack_checksum"
        rig.run(rig.switch, "sh", "-c", trusting)
    sizes = [1200] * 9 + [700]
    data = os.urandom(sum(sizes))
    switch = rig.start("nfqueue")
    with rig.udp(rig.server, SERVERS[0], 5353) as served, rig.udp(rig.client) as client:
        for side in (served, client):
            side.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        client.sendto(data, (VIP, 53))
        arrived = [served.recvfrom(65535) for _ in sizes]
        assert b"".join(datagram for datagram, _ in arrived) == data
        assert [len(datagram) for datagram, _ in arrived] == sizes
        served.sendto(data, arrived[0][1])
        returned = [client.recvfrom(65535) for _ in sizes]
        assert b"".join(datagram for datagram, _ in returned) == data
        assert {peer for _, peer in returned} == {(VIP, 53)}
    assert sum(switch.stop().values()) < len(sizes), "the canary: they were merged"
