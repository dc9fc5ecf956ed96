"""Identifications after translation: unique between two addresses, the same in all fragments."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from lb_switch.engine.nat.identification import Identifications
from lb_switch.engine.packet.protocol import TCP as TCP_NUMBER
from lb_switch.engine.packet.protocol import UDP as UDP_NUMBER
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import Forward, RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action
from tests.support.dialogue import CLIENT, CLIENT6, RIPS, RIPS6, VIP, VIP6, endpoint, send
from tests.support.fragments import fragments, reassembled
from tests.support.packets import dissect, edited, recomputed, tcp, udp
from tests.support.soundness import repaired, soundness

Place = tuple[str, int]


@dataclass(frozen=True)
class Family:
    clients: tuple[Place, Place]
    vip: Place
    rips: tuple[Place, Place]
    snat: str

    def switch(self, forward: Forward = "full_nat", servers: int = 2) -> Switch:
        switch = Switch()
        for name, protocol in (("web", TCP_NUMBER), ("dns", UDP_NUMBER)):
            members = [RealServer(endpoint(rip)) for rip in self.rips[:servers]]
            snat = ip_address(self.snat) if forward == "full_nat" else None
            switch.add_virtual_server(
                VirtualServer(
                    name,
                    endpoint(self.vip),
                    protocol,
                    make("rr"),
                    members,
                    forward=forward,
                    snat=snat,
                )
            )
        return switch


V4 = Family((CLIENT, ("10.0.1.12", 40000)), VIP, (RIPS[0], RIPS[1]), "10.0.2.1")
V6 = Family((CLIENT6, ("2001:db8:1::12", 40000)), VIP6, (RIPS6[0], RIPS6[1]), "2001:db8:2::1")
families = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
builders = pytest.mark.parametrize("build", [tcp, udp])


def opening(build: object, source: Place, destination: Place, payload: bytes = b"") -> bytes:
    if build is tcp:
        return tcp(source, destination, "S", payload, seq=1)
    return udp(source, destination, payload)


def identification(data: bytes) -> int:
    packet = dissect(data)
    return int(packet.id if data[0] >> 4 == 4 else packet["IPv6ExtHdrFragment"].id)


def cuttable(data: bytes, number: int = 7) -> bytes:
    """Return an IPv4 packet without "don't fragment", of this identification."""
    packet = IP(data)
    packet.flags, packet.id = 0, number
    return recomputed(bytes(packet))


def pour(switch: Switch, parts: list[bytes]) -> list[bytes]:
    left = []
    for part in parts:
        seen = send(switch, part)
        if seen.action is Action.FORWARD:
            left.append(seen.data)
        left.extend(seen.verdict.packets)
    return left


@families
@builders
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_two_clients_behind_one_address(
    family: Family, build: object, order: tuple[int, ...]
) -> None:
    """Same identification, fragments mixed on the way to one real server: they come together."""
    switch = family.switch(servers=1)
    payloads = (b"a" * 400, b"b" * 400)
    wholes = [
        opening(build, client, family.vip, payload)
        for client, payload in zip(family.clients, payloads, strict=True)
    ]
    cut = [fragments(whole, [5, 30], identification=7) for whole in wholes]
    left = pour(switch, [parts[number] for number in order for parts in cut])
    assert len(left) == 6
    by_number: dict[int, list[bytes]] = {}
    for each in left:
        by_number.setdefault(identification(each), []).append(each)
    assert len(by_number) == 2, "both left with the same identification"
    came = [reassembled(parts) for parts in by_number.values()]
    assert {each[-400:] for each in came} == set(payloads)
    assert all(soundness(each).l4 for each in came)


@families
@builders
def test_two_servers_behind_one_vip(family: Family, build: object) -> None:
    """Answers of two real servers to one client, in fragments of the same identification."""
    switch = family.switch("nat")
    host, port = family.clients[0]
    answers = []
    for at in (port, port + 1):
        there = send(switch, opening(build, (host, at), family.vip))
        rip = (there.packet.dst, 8080)
        if build is tcp:
            whole = tcp(rip, (host, at), "SA", b"x" * 200, seq=1, ack=2)
        else:
            whole = udp(rip, (host, at), b"x" * 200)
        answers.append(fragments(whole, [10], identification=99))
    assert dissect(answers[0][0]).src != dissect(answers[1][0]).src
    left = pour(switch, [part for pair in zip(*answers, strict=True) for part in pair])
    assert {dissect(each).src for each in left} == {family.vip[0]}
    numbers = [identification(each) for each in left]
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]


@builders
@pytest.mark.parametrize("forward", ["nat", "full_nat"])
def test_whole_ipv4_that_may_be_cut_later(build: object, forward: Forward) -> None:
    """All that left within 65,536 datagrams differ, on either road; the checksums stay right."""
    switch = V4.switch(forward)
    first = cuttable(opening(build, CLIENT, VIP))
    there = send(switch, first)
    rip = (there.packet.dst, 8080)
    snat = (there.packet.src, there.packet[TCP if build is tcp else UDP].sport)
    if build is tcp:
        answer = cuttable(tcp(rip, snat, "SA", seq=1, ack=2))
    else:
        answer = cuttable(udp(rip, snat))
    for data in (first, answer):
        numbers = []
        for _ in range(300):
            seen = send(switch, data)
            assert soundness(seen.data) == soundness(first)
            numbers.append(identification(seen.data))
        assert len(set(numbers)) == 300


@builders
def test_what_cannot_be_cut_keeps_its_own(build: object) -> None:
    """RFC 6864, section 4.1: the identification of an atomic datagram means nothing."""
    switch = V4.switch()
    whole = opening(build, CLIENT, VIP)
    packet = IP(whole)
    packet.id = 4711
    there = send(switch, recomputed(bytes(packet)))
    assert there.packet.id == 4711
    assert there.packet.flags == "DF"


def test_a_fragment_with_dont_fragment_is_one_all_the_same() -> None:
    switch = V4.switch()
    parts = []
    for part in fragments(udp(CLIENT, VIP, b"x" * 200), [10], identification=7):
        parts.append(repaired(part[:6] + bytes([part[6] | 0x40]) + part[7:]))
    left = [send(switch, part) for part in parts]
    numbers = [each.packet.id for each in left]
    assert numbers[0] == numbers[1] != 7
    assert all(soundness(each.data).ip for each in left)


def test_a_whole_ipv6_packet_has_none() -> None:
    """Nor has an atomic fragment (RFC 6946) one that means anything: it stays."""
    switch = V6.switch("nat")
    whole = udp(CLIENT6, VIP6, b"x")
    assert send(switch, whole).data == edited(whole, destination=V6.rips[0])
    atomic = fragments(udp(CLIENT6, VIP6, b"x"), [], identification=7)
    (data,) = pour(switch, atomic)
    assert identification(data) == 7


@pytest.mark.parametrize("forward", ["nat", "full_nat"])
def test_icmp_errors(forward: Forward) -> None:
    """Errors of two real servers about one client's packets leave with the VIP's address."""
    switch = V4.switch(forward)
    numbers = []
    for port in (CLIENT[1], CLIENT[1] + 1):
        there = send(switch, udp((CLIENT[0], port), VIP))
        error = IP(src=there.packet.dst, dst=there.packet.src, id=5)
        error /= ICMP(type=3, code=3) / Raw(there.data[:28])
        back = send(switch, bytes(error))
        assert (back.packet.src, back.packet.dst) == (VIP[0], CLIENT[0])
        assert soundness(back.data).ip
        numbers.append(back.packet.id)
    assert numbers[0] != numbers[1]


def test_what_the_switch_says_itself_needs_none() -> None:
    """A RST and an ICMP error of its own cannot collide: they are not to be cut."""
    switch = V4.switch()
    for data in (cuttable(tcp(CLIENT, (VIP[0], 81), "S")), cuttable(udp(CLIENT, (VIP[0], 81)))):
        answer = send(switch, data).answer
        assert (answer.flags, answer.id) == ("DF", 0)


ADDRESSES = bytes([10, 0, 1, 100, 10, 0, 1, 11])


def test_every_number_comes_once_before_one_comes_again() -> None:
    source = Identifications(b"secret")
    numbers = [source.next(ADDRESSES, UDP_NUMBER, 1500) & 0xFFFF for _ in range(65536)]
    assert len(set(numbers)) == 65536


def test_segments_that_the_kernel_cuts_have_numbers_set_aside() -> None:
    """A capture hands over up to 64 KiB of TCP as one packet; the kernel numbers them on."""
    source = Identifications()
    first = source.next(ADDRESSES, TCP_NUMBER, 65535)
    assert source.next(ADDRESSES, TCP_NUMBER, 40) - first >= 65535 // 536


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_depends_on_the_secret_alone(one: bytes, other: bytes) -> None:
    numbers = [Identifications(each).next(ADDRESSES, UDP_NUMBER, 40) for each in (one, one, other)]
    assert numbers[0] == numbers[1]
    assert (numbers[0] == numbers[2]) == (one[:64] == other[:64])


def test_more_pairs_than_are_remembered_go_on_counting() -> None:
    source = Identifications()
    first = source.next(ADDRESSES, UDP_NUMBER, 40)
    for number in range(20_000):
        source.next(number.to_bytes(8, "big"), UDP_NUMBER, 40)
    assert 1 <= source.next(ADDRESSES, UDP_NUMBER, 40) - first <= 100
