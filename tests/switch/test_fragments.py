"""Fragments: the first decides, the others follow it, in whatever order they come."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.engine.changes import RemoveVirtualServer
from lb_switch.engine.connections import fragments as bounds
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason, Verdict
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    make_switch,
    send,
)
from tests.support.fragments import fragments, part_offset, reassembled
from tests.support.packets import dissect, edited, tcp, udp
from tests.support.soundness import soundness

Place = tuple[str, int]


@dataclass(frozen=True)
class Family:
    client: Place
    vip: Place
    rips: tuple[Place, ...]

    def switch(self) -> Switch:
        return make_switch(self.vip, self.rips[:2])


V4 = Family(CLIENT, VIP, RIPS)
V6 = Family(CLIENT6, VIP6, RIPS6)
families = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])


def pour(switch: Switch, parts: list[bytes], now: float = 0.0) -> list[bytes]:
    """Send fragments; return all packets that left, in order."""
    left = []
    for part in parts:
        seen = send(switch, part, now)
        if seen.action in {Action.FORWARD, Action.PASS}:
            left.append(seen.data)
        left.extend(seen.verdict.packets)
    return left


def counted(switch: Switch) -> dict[str, int]:
    return {reason.value: number for reason, number in switch.counters.items() if number}


@families
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("build", [tcp, udp])
def test_any_order_of_four(family: Family, order: tuple[int, ...], build: object) -> None:
    """Both ways: the request's fragments in this order, then the reply's."""
    switch = family.switch()
    payload = bytes(range(256)) + b"odd"
    if build is tcp:
        whole = tcp(family.client, family.vip, "S", payload, seq=1)
    else:
        whole = udp(family.client, family.vip, payload)
    parts = fragments(whole, [4, 11, 20])
    left = pour(switch, [parts[number] for number in order])
    assert len(left) == 4
    (connection,) = switch.connections
    rip = connection.real_server.endpoint
    expected = edited(whole, destination=(str(rip.ip), rip.port))
    assert strip(reassembled(left)) == strip(expected)
    held = order.index(0)
    assert switch.counters[Reason.FRAGMENT_HELD] == held
    assert switch.counters[Reason.FRAGMENT] == 3
    assert len(switch.fragments) == switch.fragments.held_bytes == 0

    source = (str(rip.ip), rip.port)
    if build is tcp:
        answer = tcp(source, family.client, "SA", payload[::-1], seq=9, ack=2)
    else:
        answer = udp(source, family.client, payload[::-1])
    parts = fragments(answer, [3, 4, 5], identification=8)
    left = pour(switch, [parts[number] for number in order])
    assert strip(reassembled(left)) == strip(edited(answer, source=family.vip))
    assert connection.traffic_to_server.packets == connection.traffic_to_client.packets == 4
    check_invariants(switch)


def strip(data: bytes) -> bytes:
    """Forget IPv4's identification, flags and header checksum: only our cutting differs in them."""
    return data if data[0] >> 4 == 6 else data[:4] + data[8:10] + data[12:]


@given(
    st.sampled_from([V4, V6]),
    st.binary(max_size=400),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_cuts_in_any_order(family: Family, payload: bytes, data: st.DataObject) -> None:
    whole = udp(family.client, family.vip, payload + bytes(30))
    places = st.integers(1, (len(payload) + 37) // 8)
    cuts = sorted(data.draw(st.sets(places, min_size=1, max_size=9)))
    switch = family.switch()
    parts = fragments(whole, cuts)
    left = pour(switch, data.draw(st.permutations(parts)))
    rip = dissect(left[0]).dst
    assert strip(reassembled(left)) == strip(edited(whole, destination=(rip, family.rips[0][1])))
    assert len(switch.fragments) == 0


@families
def test_sixty_thousand_bytes(family: Family) -> None:
    switch = family.switch()
    whole = udp(family.client, family.vip, bytes(60_000))
    parts = fragments(whole, list(range(185, 7500, 185)))
    left = pour(switch, parts[::-1])
    rip = dissect(left[0]).dst
    assert strip(reassembled(left)) == strip(edited(whole, destination=(rip, family.rips[0][1])))


@families
def test_the_first_one_never_comes(family: Family) -> None:
    switch = family.switch()
    parts = fragments(udp(family.client, family.vip, bytes(100)), [2, 5, 9])
    assert pour(switch, parts[1:]) == []
    assert counted(switch) == {"fragment_held": 3}
    assert switch.next_deadline() == bounds.TIMEOUT
    assert switch.handle_timers(bounds.TIMEOUT) == ()
    assert counted(switch) == {"fragment_held": 3, "fragment_expired": 3}
    assert len(switch.fragments) == switch.fragments.held_bytes == 0
    seen = send(switch, parts[0], bounds.TIMEOUT + 1)
    assert seen.reason is Reason.NEW_CONNECTION, "too late for the others, but not wrong"


@families
@pytest.mark.parametrize("build", [tcp, udp])
def test_a_second_first_fragment_is_refused(family: Family, build: object) -> None:
    """Its ports may say something else than those that were decided by."""
    switch = family.switch()
    head, *_ = fragments(udp(family.client, family.vip, bytes(100)), [2, 5])
    other, *_ = fragments(udp((family.client[0], 99), family.vip, bytes(100)), [2, 5])
    assert send(switch, head).reason is Reason.NEW_CONNECTION
    seen = send(switch, other)
    assert (seen.action, seen.reason) == (Action.DROP, Reason.FRAGMENT_REFUSED)
    assert len(switch.connections) == 1


@families
@pytest.mark.parametrize(
    ("sentence", "first", "second"),
    [
        ("the same twice", (2, 4, True), (2, 4, True)),
        ("it begins inside another", (2, 6, True), (5, 9, True)),
        ("it ends inside another", (5, 9, True), (2, 6, True)),
        ("it lies inside another", (2, 9, True), (4, 5, True)),
        ("it goes beyond the end", (5, 9, False), (10, 12, True)),
        ("another end", (5, 9, False), (10, 12, False)),
        ("an end before what came", (8, 9, True), (3, 5, False)),
    ],
)
def test_overlaps_are_refused(
    family: Family, sentence: str, first: tuple[int, int, bool], second: tuple[int, int, bool]
) -> None:
    switch = family.switch()
    whole = udp(family.client, family.vip, bytes(200))
    head, *_ = fragments(whole, [1])
    assert send(switch, head).action is Action.FORWARD
    for number, (start, stop, more) in enumerate((first, second)):
        part = next(p for p in fragments(whole, [start, stop]) if part_offset(p) == start * 8)
        if not more:
            part = without_more(part)
        seen = send(switch, part)
        expected = (Reason.FRAGMENT, Reason.FRAGMENT_REFUSED)[number]
        assert seen.reason is expected, sentence


def without_more(part: bytes) -> bytes:
    changed = bytearray(part)
    if part[0] >> 4 == 6:
        changed[43] &= 0xFE
        return bytes(changed)
    changed[6] &= 0xDF
    return bytes(changed)


@families
@pytest.mark.parametrize(
    ("sentence", "size"),
    [("no bytes at all", 0), ("not a multiple of eight", 13)],
)
def test_malformed_fragments_are_refused(family: Family, sentence: str, size: int) -> None:
    switch = family.switch()
    whole = udp(family.client, family.vip, bytes(200))
    head, rest = fragments(whole, [1])
    assert send(switch, head).action is Action.FORWARD
    at = 48 if family is V6 else 20
    short = bytearray(rest[: at + size])
    if family is V6:
        short[4:6] = (8 + size).to_bytes(2, "big")
        short[43] |= 1
    else:
        short[2:4] = (20 + size).to_bytes(2, "big")
        short[6] |= 0x20
    assert send(switch, bytes(short)).reason is Reason.FRAGMENT_REFUSED, sentence


@families
def test_beyond_the_largest_datagram(family: Family) -> None:
    """The ping of death: offset and length lead over 65,535."""
    switch = family.switch()
    head, rest = fragments(udp(family.client, family.vip, bytes(200)), [1])
    send(switch, head)
    far = bytearray(rest)
    if family is V6:
        far[42:44] = (0xFFF8).to_bytes(2, "big")
    else:
        far[6:8] = (0x1FFF).to_bytes(2, "big")
    assert send(switch, bytes(far)).reason is Reason.FRAGMENT_REFUSED


@families
def test_tiny_fragments_of_tcp(family: Family) -> None:
    """RFC 1858 and RFC 3128: neither too short a first one, nor a second inside the header."""
    switch = family.switch()
    whole = tcp(family.client, family.vip, "S", bytes(80))
    head, second, third = fragments(whole, [1, 2])
    assert send(switch, head).reason is Reason.TRUNCATED, "8 bytes show no flags"
    assert send(switch, second).reason is Reason.FRAGMENT_REFUSED
    assert send(switch, third).reason is Reason.FRAGMENT_REFUSED, "offset 16: the header's end"
    assert len(switch.connections) == 0


@families
def test_the_smallest_fragments_that_are_allowed(family: Family) -> None:
    switch = family.switch()
    whole = udp(family.client, family.vip, bytes(32))
    left = pour(switch, fragments(whole, [1, 2, 3, 4]))
    assert len(left) == 5
    assert strip(reassembled(left)) == strip(
        edited(whole, destination=(dissect(left[0]).dst, family.rips[0][1]))
    )


@families
def test_what_followed_a_refused_first_fragment(family: Family) -> None:
    """The first one was answered by "port unreachable": the others have nowhere to go."""
    switch = family.switch()
    parts = fragments(udp(family.client, (family.vip[0], 99), bytes(100)), [2, 5])
    assert send(switch, parts[1]).reason is Reason.FRAGMENT_HELD
    first = send(switch, parts[0])
    assert (first.action, first.reason) == (Action.REPLY, Reason.NO_VIRTUAL_SERVER)
    assert len(first.verdict.packets) == 1, "the answer, and nothing that was held"
    assert send(switch, parts[2]).reason is Reason.FRAGMENT_OF_DROPPED
    assert counted(switch) == {
        "fragment_held": 1,
        "no_virtual_server": 1,
        "fragment_of_dropped": 2,
    }


def test_nothing_follows_a_first_fragment_without_checksum_over_ipv6() -> None:
    """Of a connection that exists: known, yet dropped."""
    switch = V6.switch()
    send(switch, udp(CLIENT6, VIP6, b"this one is sound"))
    whole = bytearray(udp(CLIENT6, VIP6, bytes(100)))
    whole[46:48] = b"\x00\x00"
    parts = fragments(bytes(whole), [2, 5])
    assert send(switch, parts[1]).reason is Reason.FRAGMENT_HELD
    first = send(switch, parts[0])
    assert first.verdict == Verdict(Action.DROP, Reason.UDP_ZERO_CHECKSUM)
    assert send(switch, parts[2]).reason is Reason.FRAGMENT_OF_DROPPED


@families
def test_fragments_that_are_none_of_its_business_pass(family: Family) -> None:
    switch = family.switch()
    elsewhere = ("2001:db8:9::9" if family is V6 else "10.0.9.9", 53)
    parts = fragments(udp(family.client, elsewhere, bytes(100)), [2, 5])
    for part in parts[::-1]:
        seen = send(switch, part)
        assert seen.verdict == Verdict(Action.PASS, Reason.NOT_FOR_THE_SWITCH)
    assert len(switch.fragments) == 0


@families
def test_a_real_servers_own_fragments_pass_in_the_end(family: Family) -> None:
    switch = family.switch()
    elsewhere = ("2001:db8:9::9" if family is V6 else "10.0.9.9", 53)
    parts = fragments(udp(family.rips[0], elsewhere, bytes(100)), [2, 5])
    left = pour(switch, parts[::-1])
    assert sorted(left) == sorted(parts)


@families
@pytest.mark.parametrize("what", ["real server", "virtual server"])
def test_live_connections_of_what_was_removed_go_on_in_fragments(family: Family, what: str) -> None:
    switch = family.switch()
    request = udp(family.client, family.vip, b"a question that is answered at length")
    rip = (dissect(send(switch, request).data).dst, family.rips[0][1])
    group = switch.virtual_servers["dns"]
    if what == "virtual server":
        switch.change(RemoveVirtualServer(group), 0.0)
        switch.change(RemoveVirtualServer(switch.virtual_servers["web"]), 0.0)
    else:
        (connection,) = switch.connections
        group.remove(connection.real_server)
        for other in list(switch.virtual_servers["web"].real_servers):
            switch.virtual_servers["web"].remove(other)
    answer = udp(rip, family.client, bytes(300))
    left = pour(switch, fragments(answer, [4, 9, 20])[::-1])
    assert strip(reassembled(left)) == strip(edited(answer, source=family.vip))
    more = udp(family.client, family.vip, bytes(300))
    left = pour(switch, fragments(more, [4, 9, 20], identification=9)[::-1])
    assert strip(reassembled(left)) == strip(edited(more, destination=rip))


# -- bounds ------------------------------------------------------------------------------------


def test_the_number_of_datagrams_is_bounded_and_the_oldest_goes() -> None:
    switch = V4.switch()
    for number in range(bounds.MAX_DATAGRAMS + 50):
        _, tail = fragments(udp(CLIENT, VIP, bytes(16)), [2], identification=number)
        assert send(switch, tail).reason is Reason.FRAGMENT_HELD
    assert len(switch.fragments) == bounds.MAX_DATAGRAMS
    assert switch.counters[Reason.FRAGMENT_EXPIRED] == 50, "each of them is counted"
    assert switch.fragments.held == bounds.MAX_DATAGRAMS


def test_the_bytes_held_are_bounded() -> None:
    switch = V4.switch()
    reasons = []
    for number in range(75):
        whole = udp(CLIENT, VIP, bytes(60_000))
        _, tail = fragments(whole, [2], identification=number)
        reasons.append(send(switch, tail).reason)
    room = bounds.MAX_HELD_BYTES // len(tail)
    assert reasons == [Reason.FRAGMENT_HELD] * room + [Reason.FRAGMENT_LIMIT] * (75 - room)
    assert switch.fragments.held_bytes <= bounds.MAX_HELD_BYTES
    switch.handle_timers(bounds.TIMEOUT)
    assert switch.fragments.held_bytes == 0


def test_one_datagram_does_not_hold_thousands() -> None:
    """Or its first fragment would stop the switch for tens of milliseconds to release them."""
    switch = V4.switch()
    parts = fragments(udp(CLIENT, VIP, bytes(60_000)), list(range(2, 7000)))
    reasons = [send(switch, part).reason for part in parts[:0:-1]]
    held = reasons.count(Reason.FRAGMENT_HELD)
    assert held == bounds.MAX_HELD_OF_ONE
    assert reasons[held:] == [Reason.FRAGMENT_LIMIT] * (len(reasons) - held)
    assert len(send(switch, parts[0]).verdict.packets) == held


def test_an_identification_may_be_used_again_at_once() -> None:
    switch = V4.switch()
    for _ in range(3):
        left = pour(switch, fragments(udp(CLIENT, VIP, bytes(100)), [2, 5]))
        assert len(left) == 3
    assert len(switch.fragments) == 0


def test_protocols_do_not_mix() -> None:
    """Over IPv4 the same identification may be under way for TCP and UDP at once."""
    switch = V4.switch()
    a = fragments(udp(CLIENT, VIP, bytes(100)), [2, 5])
    b = fragments(tcp(CLIENT, VIP, "S", bytes(100)), [3, 5])
    left = pour(switch, [a[1], b[1], a[0], b[0], b[2], a[2]])
    assert len(left) == 6
    for part in left:
        assert soundness(part).ip


def test_a_fragmented_echo_is_not_answered() -> None:
    switch = V4.switch()
    from scapy.layers.inet import ICMP, IP

    whole = bytes(IP(src=CLIENT[0], dst=VIP[0]) / ICMP() / bytes(100))
    first, second = fragments(whole, [4])
    assert send(switch, first).verdict == Verdict(Action.DROP, Reason.FRAGMENTED_ICMP)
    assert send(switch, second).verdict == Verdict(Action.DROP, Reason.FRAGMENT_OF_DROPPED)


class Stream:
    """Datagrams of two fragments, one after the other, whose identifications wrap around."""

    def __init__(self, family: Family, to_client: bool, identifications: int) -> None:
        self.switch = family.switch()
        question = send(self.switch, udp(family.client, family.vip, b"question")).packet
        ends = (family.client, family.vip)
        if to_client:
            ends = ((question.dst, question["UDP"].dport), family.client)
        self.parts = [
            fragments(udp(*ends, bytes(64)), [4], number) for number in range(identifications)
        ]
        self.sent = 0

    def send(self, now: float, lost: int | None) -> int:
        """Send the next datagram without its fragment `lost`; return how many parts go on."""
        parts = self.parts[self.sent % len(self.parts)]
        self.sent += 1
        mark = self.sent.to_bytes(4, "big")
        gone = 0
        for place, part in enumerate(parts):
            if place != lost:
                seen = send(self.switch, part[:-4] + mark, now)
                left = [seen.data] if seen.action is Action.FORWARD else []
                left += seen.verdict.packets
                assert all(each.endswith(mark) for each in left), "a part of another datagram"
                gone += len(left)
        while (due := self.switch.next_deadline()) is not None and due <= now:
            self.switch.handle_timers(now)
        return gone


@families
@pytest.mark.parametrize("to_client", [False, True], ids=["to_server", "to_client"])
@pytest.mark.parametrize("lost", [0, 1], ids=["first", "second"])
def test_what_a_loss_leaves_poisons_no_later_datagram(
    family: Family, to_client: bool, lost: int
) -> None:
    """Identifications wrap in 22 s, as 16 bits do at 3,000 datagrams a second."""
    stream = Stream(family, to_client, 218)
    for number in range(5 * 60 * 10):
        is_hurt = number % 100 == 7
        gone = stream.send(number / 10, lost if is_hurt else None)
        assert gone == (2 if not is_hurt else lost), f"datagram {number}"
    check_invariants(stream.switch)


@families
def test_fragments_may_come_late_among_others(family: Family) -> None:
    stream = Stream(family, False, 200)
    late = stream.parts[199]
    held = send(stream.switch, late[1])
    assert held.reason is Reason.FRAGMENT_HELD
    for _ in range(bounds.MAX_DISTANCE):
        assert stream.send(0.0, None) == 2
    verdict = send(stream.switch, late[0]).verdict
    assert (verdict.action, len(verdict.packets)) == (Action.FORWARD, 1)
    assert send(stream.switch, late[1]).reason is Reason.FRAGMENT_HELD
    for _ in range(bounds.MAX_DISTANCE + 1):
        stream.send(0.0, None)
    verdict = send(stream.switch, late[0]).verdict
    assert (verdict.action, len(verdict.packets)) == (Action.FORWARD, 0)
    assert stream.switch.counters[Reason.FRAGMENT_EXPIRED] == 1
    check_invariants(stream.switch)


def test_the_datagrams_of_others_age_nobodys() -> None:
    """Not those of another destination, nor of another protocol."""
    switch = make_switch()
    waiting = fragments(udp(CLIENT, VIP, bytes(64)), [4], 9999)
    assert send(switch, waiting[1]).reason is Reason.FRAGMENT_HELD
    for number in range(3 * bounds.MAX_DISTANCE):
        other = ("10.0.1.12", CLIENT[1])
        send(switch, fragments(udp(other, VIP, bytes(64)), [4], number)[1])
        send(switch, fragments(tcp(CLIENT, VIP, "S", bytes(64)), [4], number)[1])
    assert send(switch, waiting[0]).action is Action.FORWARD
