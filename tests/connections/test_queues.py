"""The queues: who gives way, and that no kind of flood takes more than its share."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lb_switch.engine.connections import queues as module
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import LOOKS, UDP_KINDS, Queues, kind_of
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.nat.path import NatPath
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.servers import RealServer
from lb_switch.engine.tally import TO_CLIENT, TO_SERVER

KEY = bytes(range(12))
PATH = NatPath(RealServer(Endpoint.parse("10.0.2.11:80")), KEY, KEY)
BOUND = 1 << 20


def made(queues: Queues, kind: QueueKind, now: float = 0.0) -> Connection:
    """Let a connection become what it is to be, as packets would make it."""
    state = {
        QueueKind.HALF_OPEN: State.SYN_RECV,
        QueueKind.CLOSED: State.ESTABLISHED,
        QueueKind.MID_STREAM: State.ESTABLISHED,
        QueueKind.GREETED: State.SYN_RECV,
        QueueKind.PROVED: State.SYN_RECV,
    }.get(kind, State.UDP)
    new = Connection(KEY, KEY, PATH, state, now)
    queues.join(new, now, one_packet=kind is QueueKind.ONE_PACKET)
    if kind is QueueKind.PROVED:
        exchange(new, 3, now)
    if kind in {QueueKind.CLOSED, QueueKind.GREETED, QueueKind.PROVED}:
        new.state = State.TIME_WAIT if kind is QueueKind.CLOSED else State.ESTABLISHED
        queues.note_state(new, state, now)
    exchange(
        new,
        {QueueKind.ANSWERED: 1, QueueKind.CONVERSING: 2, QueueKind.LASTING: 8}.get(kind, 0),
        now,
    )
    return new


def exchange(connection: Connection, times: int = 1, now: float = 0.0, size: int = 60) -> None:
    for _ in range(times):
        connection.tally += TO_SERVER[size] + TO_CLIENT[size]
    connection.last_seen = now


def noted(queues: Queues, connection: Connection, now: float) -> Connection:
    """Let the queues look at it, as they do in time."""
    queues.leave(connection)
    connection.kind = kind_of(connection)
    queues.by_kind[connection.kind].arm(connection, now)
    return connection


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("kind", set(QueueKind) - {QueueKind.PROVED})
def test_each_kind_gives_way_the_oldest_first(kind: QueueKind, protocol: int) -> None:
    queues = Queues(DEFAULT_TIMEOUTS)
    for _ in range(5):
        made(queues, QueueKind.PROVED)
    members = [noted(queues, made(queues, kind), 0.0) for _ in range(3)]
    assert [queues.give_way(protocol, 0.0, 7) for _ in range(3)] == members
    assert queues.give_way(protocol, 0.0, 7) is None
    assert queues.by_kind[QueueKind.PROVED].length == 5


@pytest.mark.parametrize("kind", set(QueueKind) - {QueueKind.PROVED})
@pytest.mark.parametrize("flood", set(QueueKind) - {QueueKind.PROVED})
def test_a_flood_of_one_kind_pushes_out_itself(flood: QueueKind, kind: QueueKind) -> None:
    """Whatever comes, the others keep what they have up to a share."""
    queues = Queues(DEFAULT_TIMEOUTS)
    honest = {noted(queues, made(queues, kind), 0.0) for _ in range(20)}
    protocol = UDP if flood in UDP_KINDS else TCP
    for number in range(400):
        if number >= 60:
            gone = queues.give_way(protocol, 0.0, BOUND if kind in UDP_KINDS else 0)
            assert gone is not None
            assert flood is kind or gone not in honest
        noted(queues, made(queues, flood), 0.0)


def test_a_lasting_conversation_has_twice_the_share() -> None:
    queues = Queues(DEFAULT_TIMEOUTS)
    for _ in range(90):
        noted(queues, made(queues, QueueKind.LASTING), 0.0)
    for _ in range(500):
        queues.give_way(TCP, 0.0, 100)
        made(queues, QueueKind.HALF_OPEN)
    assert queues.by_kind[QueueKind.LASTING].length in {59, 60}


def test_tcp_leaves_datagrams_an_eighth_of_the_table() -> None:
    """However many clients come with proved connections."""
    queues = Queues(DEFAULT_TIMEOUTS)
    for _ in range(64):
        made(queues, QueueKind.UNANSWERED)
    gone = 0
    while queues.give_way(TCP, 0.0, 64) is not None:
        made(queues, QueueKind.PROVED)
        gone += 1
    assert gone == 64 - 8
    assert queues.give_way(UDP, 0.0, 64) is not None


def test_what_is_used_is_spared() -> None:
    queues = Queues(DEFAULT_TIMEOUTS)
    idle, busy = (noted(queues, made(queues, QueueKind.CONVERSING), 0.0) for _ in range(2))
    exchange(idle, 1, 0.0)
    for _ in range(3):
        made(queues, QueueKind.CONVERSING, 0.0)
    for now in (10.0, 20.0, 30.0):
        exchange(busy, 1, now)
        queues.give_way(UDP, now, 5)
        made(queues, QueueKind.CONVERSING, now)
    assert idle.is_over
    assert not busy.is_over


def test_a_look_is_bounded_whatever_stands_in_the_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of unlooked-at answered questions: the walk that once took 400 ms."""
    queues = Queues(DEFAULT_TIMEOUTS)
    members = [made(queues, QueueKind.ANSWERED) for _ in range(2000)]
    looks = 0

    def counted(connection: Connection) -> QueueKind:
        nonlocal looks
        looks += 1
        return kind_of(connection)

    monkeypatch.setattr(module, "kind_of", counted)
    gone = [queues.give_way(UDP, 0.0, 2000) for _ in range(100)]
    assert looks <= 100 * (LOOKS + 1)
    assert set(gone) <= set(members[:1000]), "the older half"


def test_nothing_but_proved_ones_at_the_front_is_no_walk() -> None:
    """Mid-stream connections that have all proved themselves meanwhile."""
    queues = Queues(DEFAULT_TIMEOUTS)
    members = [made(queues, QueueKind.MID_STREAM) for _ in range(3 * LOOKS)]
    for each in members:
        exchange(each, 3, 0.0, 500)
    assert [queues.give_way(TCP, 0.0, 24) for _ in range(5)] == [None] * 5
    assert queues.by_kind[QueueKind.PROVED].length == 3 * LOOKS


@pytest.mark.parametrize(
    ("to_server", "to_client", "size", "kind"),
    [
        (1, 0, 60, QueueKind.MID_STREAM),
        (9, 9, 80, QueueKind.MID_STREAM),  # SYN/ACKs that answer forged SYNs, again and again
        (2, 1, 1500, QueueKind.MID_STREAM),
        (1, 2, 1500, QueueKind.MID_STREAM),
        (2, 2, 140, QueueKind.PROVED),
    ],
)
def test_what_proves_a_connection_in_mid_stream(
    to_server: int, to_client: int, size: int, kind: QueueKind
) -> None:
    queues = Queues(DEFAULT_TIMEOUTS)
    who = made(queues, QueueKind.MID_STREAM)
    who.tally = to_server * TO_SERVER[size] + to_client * TO_CLIENT[size]
    assert kind_of(who) is kind


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (State.ESTABLISHED, QueueKind.GREETED),
        (State.CLOSE_WAIT, QueueKind.GREETED),
        (State.CLOSE, QueueKind.CLOSED),
    ],
)
def test_how_a_handshake_ends(state: State, kind: QueueKind) -> None:
    queues = Queues(DEFAULT_TIMEOUTS)
    who = made(queues, QueueKind.HALF_OPEN)
    who.state = state
    queues.note_state(who, State.SYN_RECV, 0.0)
    assert who.kind is kind
    assert who.kind is not QueueKind.PROVED


@pytest.mark.parametrize(
    ("to_server", "to_client", "kind"),
    [
        (2, 1, QueueKind.GREETED),
        (3, 1, QueueKind.GREETED),
        (2, 3, QueueKind.GREETED),
        (3, 2, QueueKind.PROVED),
    ],
)
def test_what_proves_a_connection_after_its_handshake(
    to_server: int, to_client: int, kind: QueueKind
) -> None:
    """Both sides have to go on: a handshake alone is cheap for whoever has an address."""
    queues = Queues(DEFAULT_TIMEOUTS)
    who = made(queues, QueueKind.GREETED)
    who.tally = to_server * TO_SERVER[60] + to_client * TO_CLIENT[60]
    assert kind_of(who) is kind
    assert noted(queues, who, 0.0).kind is kind
    assert (who.kind is QueueKind.PROVED) is (kind is QueueKind.PROVED)


def test_what_comes_back_from_closed_has_proved_nothing() -> None:
    queues = Queues(DEFAULT_TIMEOUTS)
    who = made(queues, QueueKind.CLOSED)
    who.state = State.ESTABLISHED
    queues.note_state(who, State.TIME_WAIT, 0.0)
    assert who.kind is QueueKind.MID_STREAM


class AgainstAList(RuleBasedStateMachine):
    """Random lives of connections; the model is a list of those that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = Queues(DEFAULT_TIMEOUTS)
        self.now = 1000.0
        self.members: list[Connection] = []
        self.proved: set[Connection] = set()

    @rule(kind=st.sampled_from(QueueKind), count=st.integers(1, 6))
    def join(self, kind: QueueKind, count: int) -> None:
        for _ in range(count):
            new = made(self.queues, kind, self.now)
            self.members.append(new)
            if kind is QueueKind.PROVED:
                self.proved.add(new)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), size=st.sampled_from([60, 600]), times=st.integers(1, 2))
    def packets(self, data: st.DataObject, size: int, times: int) -> None:
        exchange(data.draw(st.sampled_from(self.members)), times, self.now, size)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.members))
        self.queues.leave(gone)
        self.forget(gone)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), state=st.sampled_from([State.FIN_WAIT, State.TIME_WAIT, State.CLOSE]))
    def change(self, data: st.DataObject, state: State) -> None:
        who = data.draw(st.sampled_from(self.members))
        if who.state is not State.UDP and who.state < state:
            old, who.state, who.last_seen = who.state, state, self.now
            self.queues.note_state(who, old, self.now)
            if state is not State.FIN_WAIT:
                self.proved.discard(who)

    @rule(protocol=st.sampled_from([TCP, UDP]), bound=st.sampled_from([0, BOUND]))
    def give_way(self, protocol: int, bound: int) -> None:
        before = Counter(each.kind for each in self.members if each.kind is not None)
        gone = self.queues.give_way(protocol, self.now, bound)
        if gone is None:
            kinds = set(before) - {QueueKind.PROVED}
            if protocol == TCP and bound:
                kinds -= set(UDP_KINDS)
            promoted = self.queues.by_kind[QueueKind.PROVED].length - before[QueueKind.PROVED]
            assert not kinds or promoted
            return
        assert gone in self.members
        assert gone not in self.proved
        assert gone.is_over
        assert not (protocol == TCP and bound and gone.state is State.UDP)
        self.forget(gone)

    @rule(seconds=st.sampled_from([0.1, 5.0, 65.0, 200.0]))
    def time(self, seconds: float) -> None:
        self.now += seconds
        while (due := self.queues.next_deadline()) is not None and due <= self.now:
            for gone in self.queues.expired(self.now, 3):
                assert gone.last_seen + DEFAULT_TIMEOUTS[gone.state] <= self.now
                self.forget(gone)
        for each in self.members:
            assert each.last_seen + DEFAULT_TIMEOUTS[each.state] > self.now - 1

    def forget(self, gone: Connection) -> None:
        self.members.remove(gone)
        self.proved.discard(gone)

    @invariant()
    def everyone_stands_somewhere(self) -> None:
        lengths: Counter[QueueKind] = Counter()
        for each in self.members:
            assert each.kind is not None
            assert not each.is_over
            lengths[each.kind] += 1
            assert each.kind <= kind_of(each)
        for queue in self.queues.by_kind:
            assert queue.length == lengths[queue.kind]
        for each in self.proved:
            assert each.kind is QueueKind.PROVED


TestQueues = AgainstAList.TestCase
TestQueues.settings = settings(max_examples=60, stateful_step_count=40)
