"""Real packets through both captures, in namespaces."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rig import (
    CLIENT,
    CLIENT6,
    ROUTER,
    SERVERS,
    SERVERS6,
    TCP_VIP,
    TCP_VIP6,
    UDP_VIP,
    VIP,
    VIP6,
    Group,
    Rig,
    background,
    built,
)

IP_RECVTTL = 12  # of linux/in.h; the socket module lacks these
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
IP_MTU = 14

pytestmark = [
    pytest.mark.netns,
    pytest.mark.parametrize("capture", ["tun", "nfqueue"]),
]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with built(tmp_path) as made:
        yield made


def exchange(client: socket.socket, listener: socket.socket) -> tuple[str, str]:
    """Accept the client's connection, talk both ways; return the peers as each side sees them."""
    served, peer = listener.accept()
    with served:
        client.sendall(b"question")
        assert served.recv(100) == b"question"
        served.sendall(b"answer")
        assert client.recv(100) == b"answer"
        return peer[0], client.getpeername()[0]


def test_tcp_goes_to_the_real_servers_in_turn(rig: Rig, capture: str) -> None:
    with rig.listen(SERVERS[0]) as first, rig.listen(SERVERS[1]) as second:
        switch = rig.start(capture)
        for listener in (first, second, first):
            with rig.connect() as client:
                assert exchange(client, listener) == (CLIENT, VIP)
    assert switch.stop()["new_connection"] == 3


def test_tcp_over_ipv6(rig: Rig, capture: str) -> None:
    rig.configure(TCP_VIP6)
    with rig.listen(SERVERS6[0]) as first, rig.listen(SERVERS6[1]) as second:
        switch = rig.start(capture)
        for listener in (first, second):
            with rig.connect(VIP6) as client:
                exchange(client, listener)
    assert switch.stop()["new_connection"] == 2


def test_the_switch_is_one_hop(rig: Rig, capture: str) -> None:
    rig.start(capture)
    with (
        rig.udp(rig.server, SERVERS[0], 5353) as served,
        rig.udp(rig.client) as client,
    ):
        for side in (served, client):
            side.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            side.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 40)
        client.sendto(b"question", (VIP, 53))
        data, ancillary, _, peer = served.recvmsg(100, 64)
        assert data == b"question"
        assert struct.unpack("=i", ancillary[0][2])[0] == 39
        served.sendto(b"answer", peer)
        data, ancillary, _, peer = client.recvmsg(100, 64)
        assert (data, peer) == (b"answer", (VIP, 53))
        assert struct.unpack("=i", ancillary[0][2])[0] == 39


def test_two_hundred_megabytes_arrive_as_they_were_sent(rig: Rig, capture: str) -> None:
    block = os.urandom(1 << 20)
    received = hashlib.sha256()

    def serve(listener: socket.socket) -> None:
        served, _ = listener.accept()
        with served:
            while data := served.recv(1 << 20):
                received.update(data)
                served.sendall(data[:1000])
            served.sendall(b"END")

    rig.configure(TCP_VIP)
    sent, echoed = hashlib.sha256(), bytearray()
    with rig.listen(SERVERS[0]) as listener:
        switch = rig.start(capture)

        def read_all(client: socket.socket) -> None:
            while data := client.recv(1 << 16):
                echoed.extend(data)

        with (
            background(serve, listener),
            rig.connect(timeout=60) as client,
            background(read_all, client),
        ):
            for _ in range(200):
                client.sendall(block)
                sent.update(block)
            client.shutdown(socket.SHUT_WR)
    assert received.hexdigest() == sent.hexdigest()
    assert echoed.endswith(b"END")
    assert switch.stop()["known_connection"] > 1000


@pytest.mark.parametrize("conntrack", [False, True])
def test_datagrams_of_60_kilobytes(rig: Rig, capture: str, conntrack: bool) -> None:
    """They come as fragments; with a conntrack rule in the namespace NFQUEUE gets them whole."""
    if conntrack:
        rule = ("FORWARD", "-m", "conntrack", "--ctstate", "INVALID")
        rig.run(rig.switch, "iptables", "-A", *rule)
    switch = rig.start(capture)
    question, answer = os.urandom(60_000), os.urandom(60_000)
    with rig.udp(rig.server, SERVERS[0], 5353) as served, rig.udp(rig.client) as client:
        client.sendto(question, (VIP, 53))
        data, peer = served.recvfrom(65535)
        assert data == question
        served.sendto(answer, peer)
        assert client.recvfrom(65535) == (answer, (VIP, 53))
    packets = sum(switch.stop().values())
    assert (packets < 10) == (conntrack and capture == "nfqueue")


def test_echo_to_the_vip_is_answered(rig: Rig, capture: str) -> None:
    rig.configure(TCP_VIP, TCP_VIP6)
    switch = rig.start(capture)
    for vip in (VIP, VIP6):
        assert "1 received" in rig.run(rig.client, "ping", "-c", "1", "-W", "5", vip)
    assert switch.stop()["echo_to_vip"] == 2


def test_a_port_without_virtual_server_refuses_at_once(rig: Rig, capture: str) -> None:
    rig.start(capture)
    with pytest.raises(ConnectionRefusedError):
        rig.connect(VIP, 81)


def test_other_traffic_is_left_alone(rig: Rig, capture: str) -> None:
    """Servers and clients reach each other and the switch beside the VIP."""
    rig.configure(TCP_VIP, UDP_VIP, TCP_VIP6)
    switch = rig.start(capture)
    for name, target in (
        (rig.server, CLIENT),
        (rig.client, SERVERS[0]),
        (rig.client, ROUTER),
        (rig.server, ROUTER),
        (rig.switch, CLIENT),
        (rig.switch, SERVERS[1]),
        (rig.server, CLIENT6),
        (rig.client, SERVERS6[0]),
        (rig.client, "fd00:1::1"),
        (rig.switch, CLIENT6),
        (rig.switch, SERVERS6[1]),
    ):
        assert "1 received" in rig.run(name, "ping", "-c", "1", "-W", "5", target)
    with rig.listen(SERVERS[0]) as listener, rig.connect(SERVERS[0], 8080) as client:
        # Its reply key is no connection's: captured, and passed.
        assert exchange(client, listener) == (CLIENT, SERVERS[0])
    passed = switch.stop()["not_for_the_switch"]
    assert passed < 40, "packets circle"


def test_a_probe_of_the_switch_itself_reaches_a_real_server(rig: Rig, capture: str) -> None:
    rig.start(capture)
    with rig.listen(SERVERS[0]) as listener, rig.open_socket(rig.switch) as probe:
        probe.connect((SERVERS[0], 8080))
        served, peer = listener.accept()
        with served:
            assert peer[0] == "10.0.2.1"


def test_too_large_for_the_servers_side_is_told_with_known_addresses(
    rig: Rig, capture: str
) -> None:
    """The client's kernel learns the path MTU; with the real server's address it would not."""
    rig.run(rig.switch, "ip", "link", "set", "srv0", "mtu", "1300")
    rig.run(rig.server, "ip", "link", "set", "eth0", "mtu", "1300")
    rig.start(capture)
    with rig.udp(rig.server, SERVERS[0], 5353) as served, rig.udp(rig.client) as client:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        client.connect((VIP, 53))
        client.send(bytes(1272))
        assert len(served.recv(2000)) == 1272
        client.send(bytes(1273))
        with pytest.raises(OSError, match="Message too long"):
            client.recv(10)
        assert client.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1300


def test_too_large_for_the_clients_side_is_told_to_the_real_server(rig: Rig, capture: str) -> None:
    rig.run(rig.switch, "ip", "link", "set", "cli0", "mtu", "1300")
    rig.run(rig.client, "ip", "link", "set", "eth0", "mtu", "1300")
    rig.start(capture)
    with rig.udp(rig.server, SERVERS[0], 5353) as served, rig.udp(rig.client) as client:
        served.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        client.sendto(b"question", (VIP, 53))
        served.connect(served.recvfrom(100)[1])
        served.send(bytes(1272))
        assert len(client.recv(2000)) == 1272
        served.send(bytes(1273))
        with pytest.raises(OSError, match="Message too long"):
            served.recv(10)
        assert served.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1300


def test_a_closed_port_of_a_real_server_is_told_to_the_client(rig: Rig, capture: str) -> None:
    rig.start(capture)
    with rig.udp(rig.client) as client:
        client.connect((VIP, 53))
        client.send(b"question")
        with pytest.raises(ConnectionRefusedError):
            client.recv(10)


def test_a_real_server_that_does_not_answer_arp_is_told_to_the_client(
    rig: Rig, capture: str
) -> None:
    """The host's own error quotes the real server: it goes through the engine too."""
    rig.configure(Group(f"{VIP}:80", ["10.0.2.99:8080"]))
    switch = rig.start(capture)
    with pytest.raises(OSError, match="No route to host"):
        rig.connect()
    assert switch.stop()["icmp_error"] >= 1


@pytest.mark.parametrize("snat", ["10.0.2.100", VIP])
def test_full_nat_serves_a_client_beside_the_real_servers(
    rig: Rig, capture: str, snat: str
) -> None:
    rig.configure(TCP_VIP._replace(snat=[snat]))
    before = rig.snapshot()
    with rig.listen(SERVERS[0]) as listener, rig.open_socket(rig.server) as client:
        switch = rig.start(capture)
        client.bind((SERVERS[1], 0))
        client.connect((VIP, 80))
        assert exchange(client, listener) == (snat, VIP)
        switch.stop()
    assert rig.snapshot() == before


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_full_nat_with_several_source_addresses(rig: Rig, capture: str, six: bool) -> None:
    """Each is captured; a client has one of them, and others have others."""
    vip, servers = (VIP6, SERVERS6) if six else (VIP, SERVERS)
    network = "fd00:2::10{}" if six else "10.0.2.10{}"
    snats = [network.format(n) for n in range(4)]
    written = ("[{}]:{}" if six else "{}:{}").format
    rig.configure(Group(written(vip, 80), [written(servers[0], 8080)], snat=snats))
    before = rig.snapshot()
    seen = []
    with rig.listen(servers[0]) as listener:
        switch = rig.start(capture)
        for source in (*servers, *servers):
            with rig.open_socket(rig.server, family=10 if six else 2) as client:
                client.bind((source, 0))
                client.connect((vip, 80))
                place, answers = exchange(client, listener)
                assert answers == vip
                seen.append(place)
        switch.stop()
    assert set(seen) <= set(snats)
    assert seen[0] != seen[1]
    assert seen[:2] == seen[2:]
    assert rig.snapshot() == before


def test_garbage_does_not_stop_the_traffic(rig: Rig, capture: str) -> None:
    rig.configure(TCP_VIP, UDP_VIP)
    rng = random.Random(7)
    with rig.listen(SERVERS[0]) as listener:
        switch = rig.start(capture)
        with rig.raw(rig.client, socket.IPPROTO_RAW) as raw:
            for protocol in (0, 1, 2, 6, 17, 58, 132, 255):
                header = bytes([0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0])
                header += socket.inet_aton(CLIENT) + socket.inet_aton(VIP)
                for size in (0, 1, 7, 8, 19, 20, 21, 333, 1400):
                    raw.sendto(header + rng.randbytes(size), (VIP, 0))
        with rig.connect() as client:
            exchange(client, listener)
    counters = switch.stop()
    assert counters["truncated"] >= 4
    assert "internal_error" not in counters, switch.stderr


FAULTY = """
from lb_switch.cli.main import main
from lb_switch.engine.switch import Switch
handle = Switch.handle_packet
def raising(switch, buffer, start, *others):
    if buffer[start] >> 4 == 4 and buffer[start + 9] == 1:
        raise RuntimeError("a bug")
    return handle(switch, buffer, start, *others)
Switch.handle_packet = raising
main()
"""
"""`lb-switch` with an engine that raises on every ICMP packet."""


def test_a_bug_in_the_engine_costs_its_packet_only(rig: Rig, capture: str) -> None:
    with rig.listen(SERVERS[0]) as listener:
        switch = rig.launch(capture, program=(sys.executable, "-c", FAULTY))
        switch.await_serving()
        for _ in range(3):
            with rig.raw(rig.client, socket.IPPROTO_ICMP) as raw:
                raw.sendto(b"\x08\0\xf7\xff" + bytes(4), (VIP, 0))
        with rig.connect() as client:
            exchange(client, listener)
    assert switch.stop()["internal_error"] == 3
    assert switch.stderr.count("RuntimeError: a bug") == 1
