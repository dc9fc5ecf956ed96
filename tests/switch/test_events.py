"""What the engine tells a listener."""

from __future__ import annotations

from lb_switch.engine.changes import SetAdminState
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.events import Cause, ConnectionEvent, ConnectionStage, Event, PacketEvent
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.servers import AdminState
from lb_switch.engine.verdict import Reason
from tests.support.dialogue import CLIENT, VIP, Dialogue, make_switch, send
from tests.support.packets import edited, tcp


def listen(talk: Dialogue) -> list[Event]:
    events: list[Event] = []
    talk.switch.listen(events.append)
    return events


def test_the_story_of_a_connection() -> None:
    talk = Dialogue(make_switch())
    events = listen(talk)
    talk.now = 10.0
    talk.handshake()
    talk.client("FA")
    talk.server("FA")
    talk.client("A")
    talk.wait(30)
    told = [
        (event.stage, event.old_state, event.state, event.cause)
        for event in events
        if isinstance(event, ConnectionEvent)
    ]
    assert told == [
        (ConnectionStage.OPENED, None, State.SYN_RECV, None),
        (ConnectionStage.CHANGED, State.SYN_RECV, State.ESTABLISHED, None),
        (ConnectionStage.CHANGED, State.ESTABLISHED, State.CLOSE_WAIT, None),
        (ConnectionStage.CHANGED, State.CLOSE_WAIT, State.LAST_ACK, None),
        (ConnectionStage.CHANGED, State.LAST_ACK, State.CLOSE, None),
        (ConnectionStage.CLOSED, State.CLOSE, State.CLOSE, Cause.TIMEOUT),
    ]
    packets = [event for event in events if isinstance(event, PacketEvent)]
    assert [packet.number for packet in packets] == [1, 2, 3, 4, 5, 6]
    assert [(p.old_state, p.state) for p in packets] == [
        (None, State.SYN_RECV),
        (State.SYN_RECV, State.SYN_RECV),
        (State.SYN_RECV, State.ESTABLISHED),
        (State.ESTABLISHED, State.CLOSE_WAIT),
        (State.CLOSE_WAIT, State.LAST_ACK),
        (State.LAST_ACK, State.CLOSE),
    ]
    assert [p.timeout for p in packets] == [60.0, 60.0, 900.0, 60.0, 30.0, 10.0]
    assert all(p.time == 10.0 for p in packets)


def test_before_and_after() -> None:
    talk = Dialogue(make_switch())
    events = listen(talk)
    data = tcp(CLIENT, VIP, "S", b"with data")
    send(talk.switch, data)
    packet = events[-1]
    assert isinstance(packet, PacketEvent)
    assert packet.before == data
    assert packet.connection is not None
    rip = packet.connection.real_server.endpoint
    assert packet.after == edited(data, destination=(str(rip.ip), rip.port))


def test_why_this_server() -> None:
    switch = make_switch()
    group = switch.virtual_servers["web"]
    switch.change(SetAdminState(group.real_servers[1], AdminState.DRAIN), 0.0)
    talk = Dialogue(switch)
    events = listen(talk)
    talk.client("S")
    packet = events[-1]
    assert isinstance(packet, PacketEvent)
    choice = packet.choice
    assert choice is not None
    assert choice.explanation is not None
    assert choice.real_server is choice.explanation.server
    assert choice.candidates == (group.real_servers[0], group.real_servers[2])
    assert choice.passed_over == (group.real_servers[1],)
    talk.server("SA")
    later = events[-1]
    assert isinstance(later, PacketEvent)
    assert later.choice is None, "a known connection is not scheduled"


def test_persistence_decides_without_the_scheduler() -> None:
    switch = make_switch()
    switch.virtual_servers["web"].persistence = Persistence(300)
    talk = Dialogue(switch)
    events = listen(talk)
    talk.client("S")
    first = talk.rip
    talk.client_place = (CLIENT[0], 41111)
    talk.client("S")
    packet = events[-1]
    assert isinstance(packet, PacketEvent)
    assert packet.verdict.reason is Reason.NEW_CONNECTION
    assert talk.rip == first
    assert packet.choice is not None
    assert packet.choice.explanation is None
