"""Fragments of two clients behind one full-NAT address, and of two servers behind one VIP."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK, Topology, VirtualServer

pytestmark = pytest.mark.netns

ECHO = 7
IDENTIFICATION = 4711
SIZE = 2000
VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SNATS = {4: "10.0.2.200", 6: "2001:db8:2::200"}
CLIENTS = {4: "10.0.1.1{}", 6: "2001:db8:1::1{}"}
SERVERS = {4: "10.0.2.1{}", 6: "2001:db8:2::1{}"}
A_FRAGMENT = {4: "ip[6:2] & 0x3fff != 0", 6: "ip6[6] == 44"}
both_families = pytest.mark.parametrize("version", [4, 6])


def topology(forward: Literal["nat", "full_nat"], servers: tuple[str, ...]) -> Topology:
    return replace(
        DUAL_STACK,
        name="identification",
        virtual_servers=tuple(
            VirtualServer(
                f"echo{version}",
                VIPS[version],
                ECHO,
                servers,
                "udp",
                forward=forward,
                snat=SNATS[version] if forward == "full_nat" else "",
            )
            for version in (4, 6)
        ),
    )


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def one_address(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(topology("full_nat", ("s1",)), capture=request.param, check_invariants=True) as lab:
        yield lab


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def one_vip(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(topology("nat", ("s1", "s2")), capture=request.param, check_invariants=True) as lab:
        yield lab


SEND = """
    import socket, sys
    from scapy.all import IP, IPv6, UDP, IPv6ExtHdrFragment, raw
    source, source_port, target, port, number, size, letter, part = sys.argv[1:]
    body = letter.encode() * int(size)
    ends = {"src": source, "dst": target}
    datagram = UDP(sport=int(source_port), dport=int(port)) / body
    head = 1200
    if ":" in target:
        family, payload = socket.AF_INET6, raw(IPv6(**ends) / datagram)[40:]
        kind = {"nh": 17, "id": int(number)}
        first = IPv6(**ends) / IPv6ExtHdrFragment(**kind, m=1) / payload[:head]
        last = IPv6(**ends) / IPv6ExtHdrFragment(**kind, offset=head // 8) / payload[head:]
    else:
        family, payload = socket.AF_INET, raw(IP(**ends) / datagram)[20:]
        kind = {"proto": 17, "id": int(number)}
        first = IP(**ends, **kind, flags="MF") / payload[:head]
        last = IP(**ends, **kind, frag=head // 8) / payload[head:]
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
        sending.sendto(raw(first if part == "first" else last), (target, 0))
"""
RECEIVE = """
    import socket, sys
    address, port, count = sys.argv[1:]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiving:
        receiving.bind((address, int(port)))
        receiving.settimeout(10)
        print("ready", flush=True)
        for _ in range(int(count)):
            body, sender = receiving.recvfrom(65535)
            print(sender[0], len(body), "".join(sorted(set(body.decode()))), flush=True)
"""


def run(lab: Lab, host: str, code: str, *arguments: object) -> None:
    lab.exec(host, argv(code, *arguments), check=True, timeout=60)


def argv(code: str, *arguments: object) -> list[str]:
    return ["python", "-c", textwrap.dedent(code), *map(str, arguments)]


def identifications(path: object, version: int, source: str) -> list[int]:
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
    from scapy.utils import rdpcap

    ip = IP if version == 4 else IPv6
    packets = [each[ip] for each in rdpcap(str(path)) if each[ip].src == source]
    return [each.id if version == 4 else each[IPv6ExtHdrFragment].id for each in packets]


@both_families
def test_two_clients_behind_one_address(one_address: Lab, version: int) -> None:
    """Both send with one identification, the parts mixed: the server gets both, each whole."""
    lab = one_address
    receivers = []
    with sniff(lab, "s1", A_FRAGMENT[version]) as seen:
        for host, number in (("c1", 1), ("c2", 2)):
            address = CLIENTS[version].format(number)
            process = lab.popen(host, argv(RECEIVE, address, 40000, 1), stdout=-1, text=True)
            receivers.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for part in ("first", "last"):
            for host, number, letter in (("c1", 1, "a"), ("c2", 2, "b")):
                where = (CLIENTS[version].format(number), 40000, VIPS[version], ECHO)
                run(lab, host, SEND, *where, IDENTIFICATION, SIZE, letter, part)
        said = [each.communicate(timeout=30)[0] for each in receivers]
    assert said == [f"{VIPS[version]} {SIZE} a\n", f"{VIPS[version]} {SIZE} b\n"]
    one, other, one_again, other_again = identifications(seen.path, version, SNATS[version])
    assert one == one_again != other == other_again


@both_families
def test_two_servers_behind_one_vip(one_vip: Lab, version: int) -> None:
    """Answers of both to one client, with one identification, the parts mixed."""
    lab = one_vip
    client, vip = CLIENTS[version].format(1), VIPS[version]
    ports = (41000, 41001)
    # Which server each port gets, as round robin has it: what the first answer comes from.
    places = []
    for port in ports:
        with (
            sniff(lab, "s1", f"udp and dst port {ECHO}") as s1,
            sniff(lab, "s2", f"udp and dst port {ECHO}"),
        ):
            code = f"""
                import socket
                s = socket.socket({10 if version == 6 else 2}, socket.SOCK_DGRAM)
                s.settimeout(10)
                s.bind(("{client}", {port}))
                s.sendto(b"x", ("{vip}", {ECHO}))
                assert s.recv(10) == b"x"
            """
            run(lab, "c1", code)
        places.append(1 if s1.packets else 2)
    assert sorted(places) == [1, 2]
    receivers = [
        lab.popen("c1", argv(RECEIVE, client, port, 1), stdout=-1, text=True) for port in ports
    ]
    assert [each.stdout and each.stdout.readline() for each in receivers] == ["ready\n"] * 2
    with sniff(lab, "c1", A_FRAGMENT[version]) as seen:
        for part in ("first", "last"):
            for port, place, letter in zip(ports, places, "ab", strict=True):
                where = (SERVERS[version].format(place), ECHO, client, port)
                run(lab, f"s{place}", SEND, *where, IDENTIFICATION, SIZE, letter, part)
        said = [each.communicate(timeout=30)[0] for each in receivers]
    assert said == [f"{vip} {SIZE} a\n", f"{vip} {SIZE} b\n"]
    one, other, one_again, other_again = identifications(seen.path, version, vip)
    assert one == one_again != other == other_again
