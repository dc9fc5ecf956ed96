"""Full NAT: a source port on which the real server has an old connection still."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import ONE_ARM, VirtualServer

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SNATS = {4: "10.0.1.200", 6: "2001:db8:1::200"}
SERVERS = {4: "10.0.1.21", 6: "2001:db8:1::21"}

TOPOLOGY = replace(
    ONE_ARM,
    name="old-connection",
    virtual_servers=tuple(
        VirtualServer(
            f"web{version}",
            VIPS[version],
            80,
            ("s1", "s2"),
            forward="full_nat",
            snat=SNATS[version],
        )
        for version in (4, 6)
    ),
)

OLD_CONNECTION = """
    # The server takes no SYN, and answers the first as a socket in TIME_WAIT or ESTABLISHED does:
    # with an ACK of its own numbers (RFC 9293, section 3.10.7.4).  A RST ends that socket.
    import socket, subprocess, sys
    from scapy.all import IP, IPv6, TCP, raw
    address, table = sys.argv[1:]
    rule = ["-p", "tcp", "--dport", "80", "--syn", "-j", "DROP"]
    subprocess.run([table, "-I", "INPUT", *rule], check=True)
    six = ":" in address
    family, ethertype = (socket.AF_INET6, 0x86DD) if six else (socket.AF_INET, 0x0800)
    seeing = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype))
    sending = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    seeing.settimeout(20)
    print("ready", flush=True)
    old = None
    while True:
        packet = (IPv6 if six else IP)(seeing.recv(65535))
        if TCP not in packet or packet.dst != address or packet[TCP].dport != 80:
            continue
        flags, port = packet[TCP].flags, packet[TCP].sport
        if flags == "S" and old is None:
            old = port
            segment = TCP(sport=80, dport=port, flags="A", seq=123456, ack=654321, window=512)
            answer = type(packet)(src=address, dst=packet.src) / segment
            sending.sendto(raw(answer), (packet.src, 0))
            print("S", port, flush=True)
        elif "R" in flags and port == old:
            subprocess.run([table, "-D", "INPUT", *rule], check=True)
            print("R", port, packet[TCP].seq, flush=True)
        elif flags == "S":
            print("S", port, flush=True)
            break
"""
CLIENT = """
    import socket, sys, time
    begin = time.monotonic()
    with socket.create_connection((sys.argv[1], 80), timeout=15) as client:
        client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        assert client.recv(100).startswith(b"HTTP/1."), "no answer"
    print(round(time.monotonic() - begin, 1))
"""


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(TOPOLOGY, capture=request.param, check_invariants=True) as made:
        yield made


@pytest.mark.parametrize("version", [4, 6])
def test_the_syn_comes_again_to_the_same_server_and_port(lab: Lab, version: int) -> None:
    """Another port would meet another old connection: a client would wait for seconds each time."""
    argv = ["python", "-c", textwrap.dedent(OLD_CONNECTION)]
    argv += [SERVERS[version], "iptables" if version == 4 else "ip6tables"]
    # The first turn is the first server's; a new schedule would go to the other one.
    server = lab.popen("s1", argv, stdout=-1, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    code = ["python", "-c", textwrap.dedent(CLIENT), VIPS[version]]
    seconds = float(lab.exec("c1", code, check=True, timeout=60).stdout)
    said = server.communicate(timeout=30)[0].split("\n")
    first, reset, again = (line.split() for line in said[:3])
    assert (first[0], reset[0], again[0]) == ("S", "R", "S")
    assert first[1] == reset[1] == again[1], "the port changed"
    assert reset[2] == "654321"
    assert seconds < 5
