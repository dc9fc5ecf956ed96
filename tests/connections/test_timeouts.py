"""The timer wheel against the plain rule: a connection ends at its deadline, within one bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.connections.timeouts import GRANULARITY, HORIZON, TimerWheel
from lb_switch.engine.nat.path import NatPath
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.servers import RealServer

KEY = bytes(range(12))
SERVER = RealServer(Endpoint.parse("10.0.2.11:80"))
PATH = NatPath(SERVER, KEY, KEY)


def connection(state: State, now: float) -> Connection:
    return Connection(KEY, KEY, PATH, state, now)


def expired(wheel: TimerWheel, now: float, limit: int) -> list[Connection]:
    """Do with those whose bucket has come due what the queues do."""
    ended = []
    for each in wheel.due(now, limit):
        if wheel.deadline(each) <= now:
            ended.append(each)
        else:
            wheel.arm(each, now)
    return ended


def run(wheel: TimerWheel, until: float) -> list[tuple[float, Connection]]:
    """Follow the wheel's own deadlines; return what ended, and when."""
    ended = []
    while (due := wheel.next_deadline()) is not None and due <= until:
        ended += [(due, each) for each in expired(wheel, due, 100)]
    return ended


def test_an_idle_connection_ends_at_its_deadline() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    idle = connection(State.SYN_RECV, 1000.2)
    wheel.arm(idle, 1000.2)
    ((when, who),) = run(wheel, 5000)
    assert who is idle
    assert 1060.2 <= when < 1060.2 + GRANULARITY
    assert wheel.next_deadline() is None


def test_a_packet_moves_the_deadline_without_touching_the_wheel() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    busy = connection(State.SYN_RECV, 0.0)
    wheel.arm(busy, 0.0)
    busy.last_seen = 40.0
    ((when, _),) = run(wheel, 5000)
    assert 100.0 <= when < 100.0 + GRANULARITY


def test_a_shorter_timeout_brings_the_deadline_nearer() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    closing = connection(State.SYN_RECV, 0.0)
    wheel.arm(closing, 0.0)
    closing.state = State.CLOSE
    wheel.rearm(closing, State.SYN_RECV, 1.0)
    ended = run(wheel, 5000)
    assert [who for _, who in ended] == [closing], "once, not once for each bucket"
    assert 10.0 <= ended[0][0] < 10.0 + GRANULARITY


def test_a_disarmed_connection_never_ends() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    gone, stays = connection(State.CLOSE, 0.0), connection(State.CLOSE, 0.0)
    wheel.arm(gone, 0.0)
    wheel.arm(stays, 0.0)
    wheel.disarm(gone)
    assert [who for _, who in run(wheel, 5000)] == [stays]


def test_the_work_of_one_call_is_bounded() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    for _ in range(250):
        wheel.arm(connection(State.CLOSE, 0.0), 0.0)
    slices = []
    while (due := wheel.next_deadline()) is not None:
        assert due <= 10.5
        slices.append(len(expired(wheel, 11.0, 100)))
    assert slices == [100, 100, 50]


def test_nothing_is_held_longer_than_the_horizon() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    wheel.arm(connection(State.ESTABLISHED, 0.0), 0.0)
    due = wheel.next_deadline()
    assert due is not None
    assert due <= HORIZON * GRANULARITY


def first_of(wheel: TimerWheel) -> Connection | None:
    return wheel.first


def test_the_first_is_the_one_looked_at_longest_ago() -> None:
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    a, b, c = (connection(State.UDP, now) for now in (0.0, 1.0, 9.0))
    for each in (a, b, c):
        wheel.arm(each, each.last_seen)
    assert first_of(wheel) is a
    wheel.disarm(a)
    assert first_of(wheel) is b
    wheel.arm(a, 10.0)
    wheel.disarm(b)
    assert (first_of(wheel), wheel.length) == (c, 2)
    wheel.disarm(c)
    wheel.disarm(a)
    assert (first_of(wheel), wheel.length, wheel.next_deadline()) == (None, 0, None)


@pytest.mark.parametrize("state", [State.UDP, State.SYN_RECV, State.CLOSE])
def test_whether_the_first_was_used_since_it_was_looked_at(state: State) -> None:
    """With timeouts beyond the horizon and within."""
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    assert not wheel.first_was_used
    who = connection(state, 100.0)
    wheel.arm(who, 100.0)
    assert not wheel.first_was_used
    who.last_seen = 102.0
    assert wheel.first_was_used
    wheel.disarm(who)
    wheel.arm(who, 104.0)
    assert not wheel.first_was_used


@given(
    st.lists(
        st.tuples(
            st.floats(0, 400, allow_nan=False),
            st.sampled_from([State.SYN_RECV, State.ESTABLISHED, State.CLOSE, State.TIME_WAIT]),
            st.lists(st.floats(0.1, 80, allow_nan=False), max_size=5),
        ),
        max_size=20,
    )
)
def test_every_connection_ends_once_and_in_time(
    plans: list[tuple[float, State, list[float]]],
) -> None:
    """Packets come at any time while the entry lives; it ends one timeout after the last."""
    wheel = TimerWheel(DEFAULT_TIMEOUTS)
    happenings: list[tuple[float, int, Connection]] = []
    expected: dict[int, float] = {}
    for number, (start, state, gaps) in enumerate(plans):
        who = connection(state, start)
        at = start
        happenings.append((at, number, who))
        for gap in gaps:
            if gap >= DEFAULT_TIMEOUTS[state]:
                break
            at += gap
            happenings.append((at, number, who))
        expected[id(who)] = at + DEFAULT_TIMEOUTS[state]
    ended: list[tuple[float, Connection]] = []
    for at, _, who in sorted(happenings, key=lambda each: each[:2]):
        ended += run(wheel, at)
        who.last_seen = at
        if who.before is None:
            wheel.arm(who, at)
    ended += run(wheel, 1e6)
    assert sorted(id(who) for _, who in ended) == sorted(expected)
    for when, who in ended:
        assert expected[id(who)] - 1e-6 <= when <= expected[id(who)] + GRANULARITY + 1e-6
