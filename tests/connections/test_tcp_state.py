"""The state table against the rules written above it."""

from __future__ import annotations

import itertools

import pytest

from lb_switch.engine.connections.tcp_state import (
    ACTIVE,
    DEFAULT_TIMEOUTS,
    TABLE,
    WITHOUT_FIN,
    Direction,
    Segment,
    State,
    event_of,
)

TCP_STATES = [state for state in State if state is not State.UDP]


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(itertools.product(Direction, Segment))
    assert all(len(row) == len(TCP_STATES) for row in TABLE.values())
    assert set(DEFAULT_TIMEOUTS) == set(State)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("state", TCP_STATES)
def test_a_rst_closes_every_state(state: State, direction: Direction) -> None:
    assert TABLE[direction, Segment.RST][state] is State.CLOSE


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("state", TCP_STATES)
def test_a_syn_changes_no_state(state: State, direction: Direction) -> None:
    assert TABLE[direction, Segment.SYN][state] is state


@pytest.mark.parametrize("state", TCP_STATES)
def test_nothing_leads_back_to_a_younger_state(state: State) -> None:
    age = [
        State.SYN_RECV,
        State.ESTABLISHED,
        State.CLOSE_WAIT,
        State.FIN_WAIT,
        State.LAST_ACK,
        State.TIME_WAIT,
        State.CLOSE,
    ]
    for direction, event in TABLE:
        assert age.index(TABLE[direction, event][state]) >= age.index(state)


def test_active_ends_with_the_first_fin_or_rst() -> None:
    for (_, event), row in TABLE.items():
        for old, new in zip(TCP_STATES, row, strict=True):
            if old in ACTIVE and new not in ACTIVE:
                assert event in {Segment.FIN, Segment.RST}


def test_the_way_back_undoes_a_fin() -> None:
    """Either the last step is undone, or that of the other side remains as if it were the first."""
    for (direction, after), before in WITHOUT_FIN.items():
        others = TABLE[Direction(1 - direction), Segment.FIN]
        alone = State.ESTABLISHED if before is State.ESTABLISHED else others[State.ESTABLISHED]
        assert before is alone
        closed = {TABLE[direction, Segment.FIN][before], others[TABLE[direction, Segment.FIN][1]]}
        assert after in closed
    reached_by_fins = {
        (direction, new)
        for direction in Direction
        for old, new in zip(TCP_STATES, TABLE[direction, Segment.FIN], strict=True)
        if new is not old
    }
    assert reached_by_fins <= set(WITHOUT_FIN)


@pytest.mark.parametrize(
    ("flags", "event"),
    [
        (0x02, Segment.SYN),
        (0x12, Segment.SYN),
        (0x10, Segment.ACK),
        (0x18, Segment.ACK),
        (0x00, Segment.ACK),
        (0x11, Segment.FIN),
        (0x01, Segment.FIN),
        (0x04, Segment.RST),
        (0x14, Segment.RST),
        (0x06, Segment.RST),
        (0x03, Segment.SYN),
    ],
)
def test_flags(flags: int, event: Segment) -> None:
    assert event_of(flags) is event
