"""What a real server sends after its connection was forgotten never shows its own address."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from lb_switch.engine.connections import ended
from lb_switch.engine.connections.ended import Ended
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.settings import Settings
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

FAMILIES = pytest.mark.parametrize(
    ("client", "vip", "rips"), [(CLIENT, VIP, RIPS), (CLIENT6, VIP6, RIPS6)], ids=["IPv4", "IPv6"]
)
Place = tuple[str, int]
HALF_CLOSED = {
    "CLOSE_WAIT": ["client FA"],
    "FIN_WAIT": ["server FA"],
    "LAST_ACK": ["client FA", "server FA"],
    "ESTABLISHED": [],
}


@FAMILIES
@pytest.mark.parametrize("state", HALF_CLOSED)
def test_a_connection_that_was_silent_for_too_long(
    client: Place, vip: Place, rips: tuple[Place, ...], state: str
) -> None:
    talk = Dialogue(make_switch(vip, rips), client, vip)
    talk.handshake()
    for word in HALF_CLOSED[state]:
        side, flags = word.split()
        getattr(talk, side)(flags)
    assert talk.state() is State[state]
    talk.wait(DEFAULT_TIMEOUTS[State[state]] + 2)
    assert len(talk.switch.connections) == 0
    for _ in range(2):
        late = talk.server("PA", b"the rest of the answer")
        assert (late.action, late.reason) == (Action.DROP, Reason.ENDED_CONNECTION)
    check_invariants(talk.switch)


@FAMILIES
def test_a_datagram_that_comes_too_late(client: Place, vip: Place, rips: tuple[Place, ...]) -> None:
    switch = make_switch(vip, rips)
    rip = send(switch, udp(client, vip, b"question")).packet
    answer = udp((rip.dst, rip["UDP"].dport), client, b"answer")
    assert send(switch, answer).reason is Reason.KNOWN_CONNECTION
    while (due := switch.next_deadline()) is not None:
        switch.handle_timers(due)
    assert send(switch, answer, 310.0).reason is Reason.ENDED_CONNECTION


@FAMILIES
def test_who_gave_way_in_a_full_table(client: Place, vip: Place, rips: tuple[Place, ...]) -> None:
    """Its real server repeats its SYN/ACK for a minute."""
    switch = make_switch(vip, rips, settings=Settings(max_connections=1))
    first = Dialogue(switch, client, vip)
    first.client("S")
    Dialogue(switch, (client[0], 7), vip).client("S")
    seen = first.server("SA")
    assert (seen.action, seen.reason) == (Action.DROP, Reason.ENDED_CONNECTION)


@FAMILIES
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_who_talks_with_a_real_server_directly_is_left_alone(
    client: Place, vip: Place, rips: tuple[Place, ...], protocol: int
) -> None:
    switch = make_switch(vip, rips)
    talk = Dialogue(switch, client, vip)
    talk.handshake()
    talk.wait(1000)
    other = (client[0], client[1] + 1)
    answer = tcp(rips[0], other, "SA") if protocol == TCP else udp(rips[0], other, b"answer")
    assert send(switch, answer, talk.now).reason is Reason.NOT_FOR_THE_SWITCH
    same_ports = udp(rips[0], client, b"of the other protocol")
    assert send(switch, same_ports, talk.now).reason is Reason.NOT_FOR_THE_SWITCH


@FAMILIES
def test_who_then_talks_with_the_real_server_directly_on_the_same_ports(
    client: Place, vip: Place, rips: tuple[Place, ...]
) -> None:
    talk = Dialogue(make_switch(vip, rips), client, vip)
    talk.handshake()
    talk.client("PA", b"question")
    talk.server("PA", b"answer")
    talk.wait(1000)
    assert talk.server("A").reason is Reason.ENDED_CONNECTION
    for flags in ("SA", "A", "PA"):
        assert talk.server(flags).reason is Reason.NOT_FOR_THE_SWITCH


CLOSED = {
    "client first": (["client FA", "server FA", "client A"], State.CLOSE),
    "server first": (["server FA", "client FA", "server A"], State.TIME_WAIT),
    "client's RST": (["client R"], State.CLOSE),
    "server's RST": (["server R"], State.CLOSE),
}


def closed(client: Place, vip: Place, rips: tuple[Place, ...], how: str) -> Dialogue:
    """Return a connection that has just been closed."""
    talk = Dialogue(make_switch(vip, rips), client, vip)
    talk.handshake()
    talk.client("PA", b"question")
    talk.server("PA", b"answer")
    talk.client("A")
    words, state = CLOSED[how]
    for word in words:
        side, flags = word.split()
        getattr(talk, side)(flags)
    assert talk.state() is state
    return talk


@FAMILIES
@pytest.mark.parametrize("how", CLOSED)
def test_who_talks_directly_on_the_ports_of_a_connection_just_closed(
    client: Place, vip: Place, rips: tuple[Place, ...], how: str
) -> None:
    """To the client's kernel the real server is another destination: it may take the same port."""
    talk = closed(client, vip, rips, how)
    damaged = talk.server("SA", seq=77, ack=0x7654_3210, chksum=1)
    assert damaged.reason is Reason.KNOWN_CONNECTION
    assert talk.server("SA", seq=77, ack=0x7654_3210).reason is Reason.NOT_FOR_THE_SWITCH
    assert talk.server("PA", b"answer", seq=78).reason is Reason.NOT_FOR_THE_SWITCH
    assert len(talk.switch.connections) == 0
    check_invariants(talk.switch)


@FAMILIES
@pytest.mark.parametrize("how", CLOSED)
def test_a_late_syn_ack_of_a_connection_just_closed_is_still_of_it(
    client: Place, vip: Place, rips: tuple[Place, ...], how: str
) -> None:
    talk = closed(client, vip, rips, how)
    late = talk.server("SA", seq=5000, ack=1001)
    assert (late.reason, late.packet.src) == (Reason.KNOWN_CONNECTION, vip[0])
    assert len(talk.switch.connections) == 1


@FAMILIES
def test_a_syn_ack_that_crosses_the_clients_reset_is_of_its_connection(
    client: Place, vip: Place, rips: tuple[Place, ...]
) -> None:
    talk = Dialogue(make_switch(vip, rips), client, vip)
    talk.client("S")
    talk.client("R")
    assert talk.state() is State.CLOSE
    crossed = talk.server("SA")
    assert (crossed.reason, crossed.packet.src) == (Reason.KNOWN_CONNECTION, vip[0])


def test_a_connection_that_was_closed_leaves_nothing() -> None:
    talk = Dialogue(make_switch())
    talk.handshake()
    talk.client("FA")
    talk.server("FA")
    talk.client("A")
    assert talk.state() is State.CLOSE
    talk.wait(100)
    assert talk.server("A").reason is Reason.NOT_FOR_THE_SWITCH


def test_a_new_connection_on_the_same_ports_is_a_connection() -> None:
    talk = Dialogue(make_switch(rips=RIPS[:1]))
    talk.handshake()
    talk.wait(1000)
    talk.client("S")
    assert talk.server("SA").reason is Reason.KNOWN_CONNECTION


def test_keys_are_kept_for_a_while_and_not_for_ever() -> None:
    kept = Ended(ended.MOST, ended.SECONDS)
    kept.note(b"one", 10.0)
    assert kept.has(b"one", 10.0 + ended.SECONDS - 1)
    assert kept.has(b"one", 10.0 + ended.SECONDS + 1)
    kept.note(b"two", 10.0 + ended.SECONDS + 2)
    assert not kept.has(b"one", 12.0 + 2 * ended.SECONDS)
    assert kept.has(b"two", 12.0 + 2 * ended.SECONDS)
    assert not kept.has(b"two", 5 * ended.SECONDS), "nothing came for a long time"


def test_their_number_is_bounded() -> None:
    kept = Ended(ended.MOST, ended.SECONDS)
    for number in range(5 * ended.MOST):
        kept.note(number.to_bytes(12, "big"), 1.0)
    last = 5 * ended.MOST - 1
    assert kept.has(last.to_bytes(12, "big"), 1.0)
    assert kept.has((last - ended.MOST + 1).to_bytes(12, "big"), 1.0)
    assert not kept.has((last - 2 * ended.MOST).to_bytes(12, "big"), 1.0)


def test_a_flood_does_not_push_out_who_was_there() -> None:
    talk = Dialogue(make_switch(settings=Settings(max_connections=300)))
    talk.handshake()
    talk.client("PA", b"question")
    talk.server("PA", b"answer")
    talk.client("FA")
    talk.wait(70)
    for number in range(3 * ended.MOST_UNPROVED):
        send(talk.switch, tcp((f"10.9.{number >> 8}.{number & 255}", 1), VIP, "S"), talk.now)
    assert talk.server("PA", b"late").reason is Reason.ENDED_CONNECTION


@FAMILIES
def test_an_icmp_error_about_a_forgotten_connection(
    client: Place, vip: Place, rips: tuple[Place, ...]
) -> None:
    """A real server refuses a datagram when nobody knows the conversation any more."""
    switch = make_switch(vip, rips)
    there = send(switch, udp(client, vip, b"a question"))
    switch.handle_timers(1000.0)
    assert len(switch.connections) == 0
    quote = Raw(there.data)
    if ":" in vip[0]:
        error = IPv6(src=rips[0][0], dst=client[0]) / ICMPv6DestUnreach(code=4) / quote
        other = IPv6(src=rips[1][0], dst=client[0]) / ICMPv6DestUnreach(code=4)
        other /= Raw(udp(client, (rips[1][0], 5353), b"not by way of the VIP"))
    else:
        error = IP(src=rips[0][0], dst=client[0]) / ICMP(type=3, code=3) / quote
        other = IP(src=rips[1][0], dst=client[0]) / ICMP(type=3, code=3)
        other /= Raw(udp(client, (rips[1][0], 5353), b"not by way of the VIP"))
    late = send(switch, bytes(error), 1001.0)
    assert (late.action, late.reason) == (Action.DROP, Reason.ENDED_CONNECTION)
    assert send(switch, bytes(other), 1001.0).action is Action.PASS
