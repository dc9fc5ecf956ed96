"""TCP conversations through the engine, on a virtual clock."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP

from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, Direction, State
from lb_switch.engine.connections.timeouts import GRANULARITY, HORIZON
from lb_switch.engine.invariants import check_invariants
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
from tests.support.packets import edited, tcp


def switch4(settings: Settings | None = None) -> Switch:
    return make_switch(settings=settings)


@pytest.fixture(params=["IPv4", "IPv6"])
def talk(request: pytest.FixtureRequest) -> Dialogue:
    if request.param == "IPv4":
        return Dialogue(make_switch())
    return Dialogue(make_switch(VIP6, RIPS6), CLIENT6, VIP6)


def test_a_request_and_its_reply(talk: Dialogue) -> None:
    syn = talk.client("S")
    assert (syn.action, syn.reason) == (Action.FORWARD, Reason.NEW_CONNECTION)
    assert talk.rip in RIPS + RIPS6
    assert talk.state() is State.SYN_RECV
    syn_ack = talk.server("SA")
    assert syn_ack.reason is Reason.KNOWN_CONNECTION
    assert (syn_ack.packet.src, syn_ack.packet[TCP].sport) == talk.vip
    assert (syn_ack.packet.dst, syn_ack.packet[TCP].dport) == talk.client_place
    assert talk.state() is State.SYN_RECV
    talk.client("A")
    assert talk.state() is State.ESTABLISHED
    request = talk.client("PA", b"GET / HTTP/1.0\r\n\r\n")
    assert (request.packet.dst, request.packet[TCP].dport) == talk.rip
    assert bytes(request.packet[TCP].payload) == b"GET / HTTP/1.0\r\n\r\n"
    reply = talk.server("PA", b"HTTP/1.0 200 OK\r\n\r\n")
    assert (reply.packet.src, reply.packet[TCP].sport) == talk.vip
    assert talk.connection.traffic_to_server.packets == 3
    assert talk.connection.traffic_to_client.packets == 2
    check_invariants(talk.switch)


def test_each_packet_leaves_as_scapy_would_translate_it(talk: Dialogue) -> None:
    data = tcp(talk.client_place, talk.vip, "S", seq=7, options=[("MSS", 1460)])
    seen = send(talk.switch, data)
    rip = (seen.packet.dst, seen.packet[TCP].dport)
    assert seen.data == edited(data, destination=rip)
    answer = tcp(rip, talk.client_place, "SA", seq=9, ack=8)
    assert send(talk.switch, answer).data == edited(answer, source=talk.vip)


def test_the_client_closes_first(talk: Dialogue) -> None:
    talk.handshake()
    talk.client("FA")
    assert talk.state() is State.CLOSE_WAIT
    talk.server("A")
    talk.server("PA", b"the rest of a half-closed download")
    talk.client("A")
    assert talk.state() is State.CLOSE_WAIT
    talk.server("FA")
    assert talk.state() is State.LAST_ACK
    talk.client("A")
    assert talk.state() is State.CLOSE
    check_invariants(talk.switch)


def test_the_server_closes_first(talk: Dialogue) -> None:
    talk.handshake()
    talk.server("FA")
    assert talk.state() is State.FIN_WAIT
    talk.client("PA", b"the rest of a half-closed upload")
    talk.server("A")
    assert talk.state() is State.FIN_WAIT
    talk.client("FA")
    assert talk.state() is State.TIME_WAIT
    talk.server("A")
    assert talk.state() is State.TIME_WAIT


def test_simultaneous_close(talk: Dialogue) -> None:
    talk.handshake()
    talk.client("FA")
    talk.server("FA", ack=talk.client_sequence - 1)
    assert talk.state() is State.LAST_ACK
    talk.server("A")
    assert talk.state() is State.LAST_ACK
    talk.client("A")
    assert talk.state() is State.CLOSE


def test_a_lost_last_ack(talk: Dialogue) -> None:
    talk.handshake()
    talk.client("FA")
    talk.server("FA")
    talk.server_sequence -= 1
    again = talk.server("FA")
    assert again.action is Action.FORWARD
    assert talk.state() is State.LAST_ACK
    talk.client("A")
    assert talk.state() is State.CLOSE
    late = talk.server("FA", seq=talk.server_sequence - 1)
    assert late.action is Action.FORWARD
    assert talk.state() is State.CLOSE


def test_a_syn_retransmit_goes_to_the_same_server_and_counts_once(talk: Dialogue) -> None:
    talk.client("S")
    first = talk.rip
    again = talk.client("S", seq=1000)
    assert again.reason is Reason.KNOWN_CONNECTION
    assert talk.rip == first
    assert talk.connection.real_server.connections_total == 1
    assert talk.connection.real_server.active == 1
    check_invariants(talk.switch)


def test_a_syn_inside_a_live_connection_resets_nothing(talk: Dialogue) -> None:
    talk.handshake()
    connection = talk.connection
    stray = talk.client("S", seq=99)
    assert stray.reason is Reason.KNOWN_CONNECTION
    assert talk.connection is connection
    assert talk.state() is State.ESTABLISHED


@pytest.mark.parametrize("closing", ["reset", "server closes"])
def test_port_reuse(talk: Dialogue, closing: str) -> None:
    talk.handshake()
    if closing == "reset":
        talk.client("R")
    else:
        talk.server("FA")
        talk.client("FA")
    first, first_server = talk.connection, talk.rip
    talk.client_sequence = 777_777
    syn = talk.client("S")
    assert (syn.action, syn.reason) == (Action.FORWARD, Reason.PORT_REUSE)
    assert syn.packet[TCP].seq == 777_777, "this very SYN is forwarded"
    assert talk.connection is not first
    assert talk.rip != first_server, "scheduled anew: the rotation went on"
    assert talk.state() is State.SYN_RECV
    check_invariants(talk.switch)


def test_a_reset_closes(talk: Dialogue) -> None:
    talk.handshake()
    reset = talk.server("R")
    assert reset.reason is Reason.KNOWN_CONNECTION
    assert talk.state() is State.CLOSE
    assert talk.connection.real_server.active == 0
    assert talk.connection.real_server.inactive == 1


def test_the_exact_number_moves_with_the_short_road(talk: Dialogue) -> None:
    talk.handshake()
    for _ in range(40):
        talk.client("A", bytes(60_000))
        talk.server("A")
    old = talk.client("R", seq=1001)
    assert old.reason is Reason.RST_OUT_OF_WINDOW
    talk.client("R")
    assert talk.state() is State.CLOSE


def test_a_refused_connection(talk: Dialogue) -> None:
    talk.client("S")
    refusal = talk.server("RA", seq=0)
    assert refusal.reason is Reason.KNOWN_CONNECTION
    assert (refusal.packet.src, refusal.packet[TCP].sport) == talk.vip
    assert talk.state() is State.CLOSE


def test_acks_alone_do_not_establish_a_connection(talk: Dialogue) -> None:
    talk.client("S")
    talk.client("A", ack=12345)
    assert talk.state() is State.SYN_RECV


@pytest.mark.parametrize("state", [s for s in State if s is not State.UDP])
def test_each_state_has_its_timeout(talk: Dialogue, state: State) -> None:
    steps = {
        State.SYN_RECV: [("c", "S")],
        State.ESTABLISHED: [("c", "S"), ("s", "SA"), ("c", "A")],
        State.FIN_WAIT: [("c", "S"), ("s", "SA"), ("c", "A"), ("s", "FA")],
        State.CLOSE_WAIT: [("c", "S"), ("s", "SA"), ("c", "A"), ("c", "FA")],
        State.LAST_ACK: [("c", "S"), ("s", "SA"), ("c", "A"), ("c", "FA"), ("s", "FA")],
        State.TIME_WAIT: [("c", "S"), ("s", "SA"), ("c", "A"), ("s", "FA"), ("c", "FA")],
        State.CLOSE: [("c", "S"), ("s", "RA")],
    }
    for who, flags in steps[state]:
        talk.wait(3.25)
        (talk.client if who == "c" else talk.server)(flags)
    assert talk.state() is state
    server = talk.connection.real_server
    talk.wait(DEFAULT_TIMEOUTS[state] - 0.01)
    assert len(talk.switch.connections) == 1
    talk.wait(0.01 + GRANULARITY)
    assert len(talk.switch.connections) == 0
    assert (server.active, server.inactive) == (0, 0)
    talk.wait(HORIZON * GRANULARITY)
    assert talk.switch.next_deadline() is None, "nothing is left behind in the timers"


def test_traffic_keeps_a_connection(talk: Dialogue) -> None:
    talk.handshake()
    for _ in range(10):
        talk.wait(600)
        talk.client("A")
    assert talk.state() is State.ESTABLISHED


def test_a_segment_of_no_connection_is_reset() -> None:
    seen = send(switch4(), tcp(CLIENT, VIP, "A", b"abc", seq=10, ack=0xFFFFFFF0))
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.UNKNOWN_TCP)
    answer = seen.answer
    assert (answer.src, answer[TCP].sport) == VIP
    assert (answer.dst, answer[TCP].dport) == CLIENT
    assert answer[TCP].flags == "R"
    assert answer[TCP].seq == 0xFFFFFFF0, "the sequence number that the sender expects"


def test_a_reset_is_never_answered() -> None:
    seen = send(switch4(), tcp(CLIENT, VIP, "R"))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.UNKNOWN_TCP)


def test_unknown_tcp_may_be_dropped() -> None:
    seen = send(switch4(Settings(unknown_tcp="drop")), tcp(CLIENT, VIP, "A"))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.UNKNOWN_TCP)


def test_unknown_tcp_may_be_scheduled() -> None:
    switch = switch4(Settings(unknown_tcp="schedule"))
    talk = Dialogue(switch)
    seen = talk.client("A", b"in the middle")
    assert (seen.action, seen.reason) == (Action.FORWARD, Reason.NEW_CONNECTION)
    assert talk.state() is State.ESTABLISHED
    reset = send(switch, tcp(("10.0.1.12", 5), VIP, "R"))
    assert reset.action is Action.DROP, "a RST opens nothing"


@pytest.mark.parametrize(
    ("flags", "state"),
    [("A", State.ESTABLISHED), ("FA", State.CLOSE_WAIT), ("F", State.ESTABLISHED)],
)
def test_what_is_scheduled_in_mid_stream_has_the_state_of_its_first_segment(
    flags: str, state: State
) -> None:
    talk = Dialogue(switch4(Settings(unknown_tcp="schedule")))
    assert talk.client(flags, b"in the middle", ack=0x7FFFF).reason is Reason.NEW_CONNECTION
    assert talk.state() is state
    assert talk.connection.acked_by(Direction.ORIGINAL) == (0x7FFFF if "A" in flags else None)
    check_invariants(talk.switch)
    talk.server("R", seq=0x7FFFF)
    assert talk.state() is State.CLOSE
    check_invariants(talk.switch)
