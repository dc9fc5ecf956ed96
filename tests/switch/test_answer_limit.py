"""The switch says no, or answers a ping, only so often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from lb_switch.engine.changes import ChangeSettings, SetHealth
from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.nat.answer_limit import AnswersPerSecond
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    make_switch,
    send,
)
from tests.support.packets import tcp, udp

Place = tuple[str, int]
Ends = tuple[Place, Place, tuple[Place, ...]]
both_families = pytest.mark.parametrize(
    "ends", [(CLIENT, VIP, RIPS), (CLIENT6, VIP6, RIPS6)], ids=["v4", "v6"]
)


def echo(source: str, vip: str) -> bytes:
    if ":" in vip:
        return bytes(IPv6(src=source, dst=vip) / ICMPv6EchoRequest(id=1, seq=2, data=b"x"))
    return bytes(IP(src=source, dst=vip) / ICMP(id=1, seq=2))


def datagram(client: Place, vip: Place) -> bytes:
    return udp(client, (vip[0], 81), b"anybody there?")


def stray(client: Place, vip: Place) -> bytes:
    return tcp(client, vip, "A", seq=1, ack=2)


def ping(client: Place, vip: Place) -> bytes:
    return echo(client[0], vip[0])


def outcomes(switch: Switch, data: bytes, times: int, now: float) -> Counter[tuple[str, str]]:
    seen = [send(switch, data, now) for _ in range(times)]
    return Counter((each.action.value, each.reason.value) for each in seen)


def limited(**rates: float) -> Settings:
    return Settings(answers_per_second=AnswersPerSecond(**rates))


ONE_OF_EACH = limited(icmp_errors=10, resets=10, echo_replies=10)
KINDS: list[tuple[Callable[[Place, Place], bytes], str]] = [
    (datagram, "no_virtual_server"),
    (stray, "unknown_tcp"),
    (ping, "echo_to_vip"),
]


@both_families
@pytest.mark.parametrize(("make", "reason"), KINDS)
def test_a_burst_then_so_many_a_second(
    ends: Ends, make: Callable[[Place, Place], bytes], reason: str
) -> None:
    client, vip, rips = ends
    switch = make_switch(vip, rips, settings=ONE_OF_EACH)
    data = make(client, vip)
    replied, dropped = ("reply", reason), ("drop", "answer_limit")
    assert outcomes(switch, data, 60, 100.0) == {replied: 50, dropped: 10}
    assert outcomes(switch, data, 60, 100.5) == {replied: 5, dropped: 55}
    assert outcomes(switch, data, 60, 1000.0) == {replied: 50, dropped: 10}
    assert switch.counters[Reason(reason)] == 105
    assert switch.counters[Reason.ANSWER_LIMIT] == 75
    assert sum(switch.counters.values()) == 180


@both_families
def test_by_default_20_000_datagrams_in_a_fifth_of_a_second_get_250_errors(ends: Ends) -> None:
    client, vip, rips = ends
    switch = make_switch(vip, rips)
    data = bytearray(datagram(client, vip))
    for number in range(20_000):
        switch.handle_packet(data, 0, len(data), number / 100_000)
    assert switch.counters[Reason.NO_VIRTUAL_SERVER] == 50 + 199
    assert switch.counters[Reason.ANSWER_LIMIT] == 20_000 - 249


@both_families
def test_by_default_every_honest_client_gets_its_rst_and_its_echo(ends: Ends) -> None:
    client, vip, rips = ends
    switch = make_switch(vip, rips)
    outcomes(switch, datagram(client, vip), 1000, 0.0)
    syn = tcp(client, (vip[0], 81), "S")
    assert outcomes(switch, syn, 1000, 0.0) == {("reply", "no_virtual_server"): 1000}
    assert outcomes(switch, ping(client, vip), 1000, 0.0) == {("reply", "echo_to_vip"): 1000}


@both_families
def test_every_refusal_of_udp_counts(ends: Ends) -> None:
    """No virtual server, and no usable real server: one bucket, as it is one kind of answer."""
    client, vip, rips = ends
    switch = make_switch(vip, rips, settings=ONE_OF_EACH)
    for server in switch.virtual_servers["dns"].real_servers:
        switch.change(SetHealth(server, False, "test"), 0.0)
    asked = udp(client, vip, b"hello?")
    assert outcomes(switch, asked, 30, 1.0) == {("reply", "no_real_server"): 30}
    assert outcomes(switch, datagram(client, vip), 30, 1.0) == {
        ("reply", "no_virtual_server"): 20,
        ("drop", "answer_limit"): 10,
    }


def test_a_connection_of_a_real_server_that_is_down_is_reset_when_there_is_room() -> None:
    switch = make_switch(settings=limited(resets=10))
    talk = Dialogue(switch)
    talk.handshake()
    for server in switch.virtual_servers["web"].real_servers:
        switch.change(SetHealth(server, False, "test"), 0.0)
    outcomes(switch, stray(("10.0.1.12", 1), VIP), 60, talk.now)
    assert talk.client("A", b"data").reason is Reason.ANSWER_LIMIT
    talk.wait(0.25)
    again = talk.client("A", b"data", seq=1001)
    assert (again.action, again.reason) == (Action.REPLY, Reason.REAL_SERVER_DOWN)


def test_a_rst_of_no_connection_takes_no_token() -> None:
    switch = make_switch(settings=limited(resets=10))
    outcomes(switch, tcp(CLIENT, VIP, "R"), 60, 0.0)
    assert outcomes(switch, stray(CLIENT, VIP), 1, 0.0) == {("reply", "unknown_tcp"): 1}


def test_known_and_new_connections_know_no_limit() -> None:
    switch = make_switch(settings=ONE_OF_EACH)
    outcomes(switch, datagram(CLIENT, VIP), 60, 0.0)
    outcomes(switch, stray(CLIENT, VIP), 60, 0.0)
    for port in range(100):
        assert send(switch, tcp(("10.0.1.12", 1 + port), VIP, "S")).action is Action.FORWARD
        assert send(switch, udp(("10.0.1.12", 1 + port), VIP)).action is Action.FORWARD
    assert len(switch.connections) == 200


def test_another_limit_holds_from_the_next_packet() -> None:
    switch = make_switch(settings=ONE_OF_EACH)
    outcomes(switch, stray(CLIENT, VIP), 60, 0.0)
    switch.change(
        ChangeSettings(replace(switch.settings, answers_per_second=AnswersPerSecond())), 0.0
    )
    assert outcomes(switch, stray(CLIENT, VIP), 60, 0.0) == {("reply", "unknown_tcp"): 60}


def test_a_change_of_something_else_fills_no_bucket() -> None:
    switch = make_switch(settings=ONE_OF_EACH)
    outcomes(switch, datagram(CLIENT, VIP), 60, 0.0)
    switch.change(ChangeSettings(replace(switch.settings, unknown_tcp="drop")), 0.0)
    assert outcomes(switch, datagram(CLIENT, VIP), 60, 0.0) == {("drop", "answer_limit"): 60}


def test_a_first_fragment_is_refused_within_the_limit_too() -> None:
    switch = make_switch()
    part = udp(CLIENT, (VIP[0], 81), b"twenty-four bytes of it.")[20:36]
    seen: Counter[Reason] = Counter()
    for number in range(60):
        whole = IP(src=CLIENT[0], dst=VIP[0], flags="MF", id=number, proto=17) / Raw(part)
        seen[send(switch, bytes(whole)).reason] += 1
    assert seen == {Reason.NO_VIRTUAL_SERVER: 50, Reason.ANSWER_LIMIT: 10}


def test_a_listener_changes_nothing_about_it() -> None:
    switch = make_switch(settings=ONE_OF_EACH)
    told: list[Event] = []
    switch.listen(told.append)
    outcomes(switch, ping(CLIENT, VIP), 60, 0.0)
    assert Counter(each.verdict.reason for each in told if isinstance(each, PacketEvent)) == {
        Reason.ECHO_TO_VIP: 50,
        Reason.ANSWER_LIMIT: 10,
    }
