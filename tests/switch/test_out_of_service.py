"""A real server that goes down, is drained, removed or re-added under live connections."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP

from lb_switch.engine.changes import RemoveVirtualServer, SetAdminState, SetHealth, SetWeight
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.events import Aspect, Event, ServerEvent
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.servers import AdminState, OnDown, RealServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import CLIENT, RIPS, VIP, Dialogue, endpoint, make_switch, send
from tests.support.packets import recomputed, tcp, udp


def talk_with(on_down: OnDown) -> Dialogue:
    switch = make_switch()
    for virtual_server in switch.virtual_servers.values():
        virtual_server.on_down = on_down
    return Dialogue(switch)


def take_down(talk: Dialogue, how: str) -> RealServer:
    server = talk.connection.real_server
    if how == "health":
        talk.switch.change(SetHealth(server, False, "connect refused"), talk.now)
    else:
        talk.switch.change(SetAdminState(server, AdminState.MAINT), talk.now)
    return server


def new_connections(switch: Switch, count: int) -> set[str]:
    """Open connections from fresh ports; return the addresses they went to."""
    return {
        send(switch, tcp(("10.0.1.12", 1000 + port), VIP, "S")).packet.dst for port in range(count)
    }


@pytest.mark.parametrize("how", ["health", "maint"])
@pytest.mark.parametrize("on_down", ["reset", "reschedule"])
def test_the_next_packet_of_the_client_is_answered_by_a_reset(on_down: OnDown, how: str) -> None:
    talk = talk_with(on_down)
    talk.handshake()
    talk.client("A", b"fine so far")
    take_down(talk, how)
    seen = talk.client("PA", b"anyone there?", ack=0x89ABCDEF)
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.REAL_SERVER_DOWN)
    answer, told = seen.told
    assert answer[TCP].flags == "R"
    assert answer[TCP].seq == 0x89ABCDEF, "valid for the client: its own ack number"
    assert (answer.src, answer[TCP].sport) == VIP
    assert bytes(answer) == recomputed(bytes(answer))
    assert (told[TCP].flags, told[TCP].seq) == ("A", 1000), "how far it came only the server knows"
    assert ((told.src, told[TCP].sport), (told.dst, told[TCP].dport)) == (CLIENT, talk.rip)
    assert bytes(told) == recomputed(bytes(told))
    assert talk.state() is State.CLOSE
    check_invariants(talk.switch)
    assert talk.client("A").reason is Reason.REAL_SERVER_DOWN
    assert talk.server("A", ack=1013).answer[TCP].seq == 1013
    assert len(talk.switch.connections) == 0
    assert talk.client("A").reason is Reason.UNKNOWN_TCP


def test_keep_goes_on() -> None:
    talk = talk_with("keep")
    talk.handshake()
    server = take_down(talk, "health")
    assert talk.client("A", b"still there?").reason is Reason.KNOWN_CONNECTION
    assert server.active == 1


def test_nothing_new_arrives_at_a_server_that_is_down() -> None:
    talk = talk_with("reset")
    talk.handshake()
    server = take_down(talk, "health")
    assert str(server.endpoint.ip) not in new_connections(talk.switch, 30)
    talk.switch.change(SetHealth(server, True, "status 200"), 1.0)
    assert str(server.endpoint.ip) in new_connections(talk.switch, 60)


def test_reschedule_gives_a_syn_to_another_server() -> None:
    talk = talk_with("reschedule")
    talk.client("S")
    first = talk.rip
    down = take_down(talk, "health")
    again = talk.client("S", seq=1000)
    assert (again.action, again.reason) == (Action.FORWARD, Reason.RESCHEDULED)
    assert talk.rip != first
    assert talk.connection.real_server is not down
    assert (down.active, down.inactive) == (0, 0)
    check_invariants(talk.switch)


def test_reset_refuses_a_syn_that_comes_again() -> None:
    talk = talk_with("reset")
    talk.client("S")
    take_down(talk, "health")
    again = talk.client("S", seq=1000)
    assert (again.action, again.reason) == (Action.REPLY, Reason.REAL_SERVER_DOWN)
    answer, told = again.told
    assert (answer[TCP].flags, answer[TCP].ack) == ("RA", 1001)
    assert (told[TCP].flags, told[TCP].seq, told.dst) == ("R", 1001, talk.rip[0])  # type: ignore[index]
    assert len(talk.switch.connections) == 0


def test_a_client_that_resets_gets_no_reset_back() -> None:
    talk = talk_with("reset")
    talk.handshake()
    take_down(talk, "health")
    assert talk.client("R").action is Action.FORWARD
    assert talk.state() is State.CLOSE


def test_the_ports_of_a_closed_connection_may_be_used_again() -> None:
    talk = talk_with("reset")
    talk.handshake()
    talk.client("R")
    down = take_down(talk, "health")
    talk.client_sequence = 99_999
    assert talk.client("S").reason is Reason.RESCHEDULED
    assert talk.connection.real_server is not down


def test_a_datagram_goes_to_another_server() -> None:
    switch = make_switch()
    first = send(switch, udp(CLIENT, VIP, b"a question, twelve bytes and more"))
    (connection,) = switch.connections
    switch.change(SetHealth(connection.real_server, False, "timeout after 1.0 s"), 0.0)
    again = send(switch, udp(CLIENT, VIP, b"a question, twelve bytes and more"))
    assert again.reason is Reason.RESCHEDULED
    assert again.packet.dst != first.packet.dst
    back = send(switch, udp((again.packet.dst, again.packet[UDP].dport), CLIENT, b"an answer"))
    assert back.packet.src == VIP[0]
    check_invariants(switch)


def test_replies_of_a_server_that_is_down_still_pass() -> None:
    talk = talk_with("reset")
    talk.handshake()
    take_down(talk, "health")
    assert talk.server("A", b"not quite dead").action is Action.FORWARD


@pytest.mark.parametrize("how", ["drain", "weight 0"])
def test_a_drained_server_keeps_its_connections_and_gets_no_new_one(how: str) -> None:
    talk = talk_with("reset")
    talk.handshake()
    server = talk.connection.real_server
    if how == "drain":
        talk.switch.change(SetAdminState(server, AdminState.DRAIN), 0.0)
    else:
        talk.switch.change(SetWeight(server, 0), 0.0)
    for _ in range(3):
        assert talk.client("A", b"on and on").reason is Reason.KNOWN_CONNECTION
        assert talk.server("A", b"and on").action is Action.FORWARD
    assert str(server.endpoint.ip) not in new_connections(talk.switch, 30)


def test_a_server_removed_and_added_again_has_exact_accounts() -> None:
    talk = talk_with("reset")
    talk.handshake()
    server = talk.connection.real_server
    group = server.virtual_server
    assert group is not None
    group.remove(server)
    assert talk.client("A", b"nothing is lost").reason is Reason.KNOWN_CONNECTION
    assert str(server.endpoint.ip) not in new_connections(talk.switch, 30)
    again = group.add(RealServer(endpoint((str(server.endpoint.ip), server.endpoint.port)), 7))
    assert (again.active, again.weight) == (1, 7)
    check_invariants(talk.switch)
    talk.server("A")
    talk.client("R")
    assert (again.active, again.inactive) == (0, 1)
    talk.wait(1000)
    assert (again.active, again.inactive) == (0, 0)
    check_invariants(talk.switch)


def test_a_departed_server_without_connections_is_forgotten() -> None:
    switch = make_switch()
    group = switch.virtual_servers["web"]
    old = group.real_servers[0]
    group.remove(old)
    new = group.add(RealServer(endpoint(RIPS[0])))
    assert new is not old
    with pytest.raises(ValueError, match=r"10\.0\.2\.11:8080 is already in web"):
        group.add(RealServer(endpoint(RIPS[0])))


def test_a_removed_virtual_server_keeps_its_connections() -> None:
    talk = talk_with("reset")
    talk.handshake()
    talk.switch.change(RemoveVirtualServer(talk.switch.virtual_servers["web"]), 0.0)
    assert talk.client("A", b"go on").reason is Reason.KNOWN_CONNECTION
    assert talk.server("A", b"go on").packet.src == VIP[0]
    other = send(talk.switch, tcp(("10.0.1.12", 5), VIP, "S"))
    assert other.reason is Reason.NO_VIRTUAL_SERVER


def test_each_change_is_told_with_its_cause() -> None:
    switch = make_switch()
    server = switch.virtual_servers["web"].real_servers[0]
    events: list[Event] = []
    switch.listen(events.append)
    switch.change(SetHealth(server, False, "connect refused"), 1.0)
    switch.change(SetAdminState(server, AdminState.DRAIN), 2.0)
    switch.change(SetWeight(server, 5), 3.0)
    told = [event for event in events if isinstance(event, ServerEvent)]
    assert [(event.time, event.changed, event.finding) for event in told] == [
        (1.0, Aspect.HEALTH, "connect refused"),
        (2.0, Aspect.STATE, ""),
        (3.0, Aspect.WEIGHT, ""),
    ]
