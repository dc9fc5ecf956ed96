"""A segment that its receiver refuses changes nothing that lasts (RFC 9293, 3.10.7.4; RFC 5961)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import kind_of
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.verdict import Reason
from tests.support.dialogue import (
    CLIENT6,
    RIPS6,
    VIP6,
    Dialogue,
    Seen,
    make_switch,
    send,
)
from tests.support.packets import tcp

Say = Callable[..., Seen]


@pytest.fixture(params=["IPv4", "IPv6"])
def talk(request: pytest.FixtureRequest) -> Dialogue:
    """A connection in the middle of a conversation: everything is acknowledged."""
    if request.param == "IPv4":
        talk = Dialogue(make_switch())
    else:
        talk = Dialogue(make_switch(VIP6, RIPS6), CLIENT6, VIP6)
    talk.handshake()
    talk.client("PA", b"request")
    talk.server("PA", b"response")
    talk.client("A")
    talk.server("A")
    return talk


def ends(talk: Dialogue, side: str) -> tuple[Say, Say]:
    """Who sends the doubtful segment, and who receives it."""
    return (talk.client, talk.server) if side == "client" else (talk.server, talk.client)


def number(talk: Dialogue, side: str) -> int:
    """The next sequence number of a side."""
    return talk.client_sequence if side == "client" else talk.server_sequence


def forge(talk: Dialogue, side: str, flags: str, seq: int, ack: int = 0, **more: Any) -> Seen:
    """Send a segment in the name of a side, which knows nothing of it."""
    assert talk.rip is not None
    way = (talk.client_place, talk.vip) if side == "client" else (talk.rip, talk.client_place)
    data = tcp(*way, flags, b"", seq=seq % (1 << 32), ack=ack % (1 << 32), **more)
    return send(talk.switch, data, talk.now)


def is_as_before(talk: Dialogue) -> None:
    """The connection counts as active, and may be silent as long as ever."""
    assert talk.state() is State.ESTABLISHED
    server = talk.connection.real_server
    assert (server.active, server.inactive) == (1, 0)
    assert kind_of(talk.connection) is QueueKind.PROVED
    check_invariants(talk.switch)
    talk.wait(DEFAULT_TIMEOUTS[State.ESTABLISHED] - 1)
    assert talk.state() is State.ESTABLISHED


SIDES = pytest.mark.parametrize("side", ["client", "server"])


@SIDES
@pytest.mark.parametrize("flags", ["R", "RA", "FA", "F", "S", "SA", "A", "PA", "FPA", "SF", ""])
def test_two_thousand_spaced_segments_of_each_kind(talk: Dialogue, side: str, flags: str) -> None:
    """One every 2 MiB hits any window of 1 MiB on both sides of a number."""
    for guess in range(0, 1 << 32, 1 << 21):
        forge(talk, side, flags, number(talk, side) + 1 + guess, ack=guess * 7)
    is_as_before(talk)


@SIDES
@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
@pytest.mark.parametrize("distance", [-70_000, -1, 1, 1000, 65_535, 1 << 20, 1 << 30, 1 << 31])
def test_one_that_is_near_but_not_exact(
    talk: Dialogue, side: str, flags: str, distance: int
) -> None:
    forge(talk, side, flags, number(talk, side) + distance, ack=number(talk, "client"))
    is_as_before(talk)


@SIDES
def test_a_reset_that_is_not_believed_is_told_so(talk: Dialogue, side: str) -> None:
    seen = forge(talk, side, "R", number(talk, side) + 1)
    assert seen.reason is Reason.RST_OUT_OF_WINDOW


@SIDES
def test_after_refused_segments_a_syn_goes_where_the_connection_is(
    talk: Dialogue, side: str
) -> None:
    for guess in range(0, 1 << 32, 1 << 21):
        forge(talk, side, "R", number(talk, side) + 1 + guess)
    seen = forge(talk, "client", "S", 12345)
    assert seen.reason is Reason.KNOWN_CONNECTION
    is_as_before(talk)


@SIDES
@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
def test_a_damaged_checksum_closes_nothing(talk: Dialogue, side: str, flags: str) -> None:
    other = "server" if side == "client" else "client"
    forge(talk, side, flags, number(talk, side), ack=number(talk, other), chksum=0x1234)
    is_as_before(talk)


def test_a_damaged_checksum_establishes_nothing() -> None:
    talk = Dialogue(make_switch())
    talk.client("S")
    talk.server("SA")
    talk.client("A", chksum=0x1234)
    assert talk.state() is State.SYN_RECV
    talk.client("A")
    assert talk.state() is State.ESTABLISHED


@SIDES
@pytest.mark.parametrize("flags", ["R", "RA"])
def test_an_exact_reset_closes(talk: Dialogue, side: str, flags: str) -> None:
    sender, _ = ends(talk, side)
    assert sender(flags).reason is Reason.KNOWN_CONNECTION
    assert talk.state() is State.CLOSE
    check_invariants(talk.switch)


@SIDES
def test_a_reset_behind_data_under_way_closes_when_its_receiver_has_got_so_far(
    talk: Dialogue, side: str
) -> None:
    sender, receiver = ends(talk, side)
    sender("PA", b"the last words")
    assert sender("RA").reason is Reason.RST_OUT_OF_WINDOW
    assert talk.state() is State.ESTABLISHED
    receiver("A")
    assert talk.state() is State.CLOSE
    check_invariants(talk.switch)


@SIDES
def test_a_reset_whose_sender_talks_on_is_forgotten(talk: Dialogue, side: str) -> None:
    """Exact by what the switch saw, but its receiver knew better."""
    sender, receiver = ends(talk, side)
    forge(talk, side, "R", number(talk, side))
    assert talk.state() is State.CLOSE
    receiver("A")
    assert talk.state() is State.CLOSE, "it may have been under way still"
    sender("A")
    is_as_before(talk)


@SIDES
def test_a_reset_beyond_which_its_receiver_acknowledges_is_forgotten(
    talk: Dialogue, side: str
) -> None:
    sender, receiver = ends(talk, side)
    forge(talk, side, "R", number(talk, side))
    sender("PA", b"I am still here", seq=number(talk, side) + 100)
    assert talk.state() is State.CLOSE, "a number that does not continue the conversation"
    receiver("A")
    is_as_before(talk)


@SIDES
def test_a_fin_behind_data_under_way_counts_once_it_is_acknowledged(
    talk: Dialogue, side: str
) -> None:
    sender, receiver = ends(talk, side)
    sender("PA", b"the last words")
    sender("FPA", b" of all")
    assert talk.state() is State.ESTABLISHED
    receiver("A", ack=number(talk, side) - 1)
    assert talk.state() is State.ESTABLISHED
    receiver("A")
    assert talk.state() is (State.CLOSE_WAIT if side == "client" else State.FIN_WAIT)
    check_invariants(talk.switch)


@SIDES
def test_a_strangers_guesses_do_not_hide_the_fin_that_is_under_way(
    talk: Dialogue, side: str
) -> None:
    sender, receiver = ends(talk, side)
    sender("PA", b"the last words")
    forge(talk, side, "FA", number(talk, side) + 77_777)
    sender("FA")
    forge(talk, side, "FA", number(talk, side) + 55_555)
    receiver("A")
    assert talk.state() is (State.CLOSE_WAIT if side == "client" else State.FIN_WAIT)


@SIDES
def test_a_fin_beyond_which_its_receiver_acknowledges_was_none(talk: Dialogue, side: str) -> None:
    sender, receiver = ends(talk, side)
    forge(talk, side, "FA", number(talk, side))
    assert talk.state() is (State.CLOSE_WAIT if side == "client" else State.FIN_WAIT)
    sender("PA", b"there is more")
    receiver("A")
    is_as_before(talk)


@SIDES
def test_a_stranger_takes_no_fin_back(talk: Dialogue, side: str) -> None:
    """Neither one that counts nor one that waits, nor a reset: whatever he acknowledges."""
    sender, receiver = ends(talk, side)
    other = "server" if side == "client" else "client"
    sender("FA")
    half_closed = State.CLOSE_WAIT if side == "client" else State.FIN_WAIT
    for guess in range(1, 1 << 32, 1 << 24):
        forge(talk, other, "PA", number(talk, other) + guess, ack=guess * 5)
    assert talk.state() is half_closed
    receiver("PA", b"words under way")
    receiver("FA")
    for guess in range(1, 1 << 32, 1 << 24):
        forge(talk, side, "A", number(talk, side) + guess, ack=guess * 5)
    assert talk.state() is half_closed
    sender("A")
    assert talk.state() in {State.CLOSE, State.TIME_WAIT}
    check_invariants(talk.switch)


def test_a_stranger_opens_no_closed_connection(talk: Dialogue) -> None:
    talk.server("RA")
    for side in ("client", "server"):
        for guess in range(1, 1 << 32, 1 << 24):
            forge(talk, side, "PA", number(talk, side) + guess, ack=guess * 5)
    assert talk.state() is State.CLOSE


def test_both_fins_under_way_at_once(talk: Dialogue) -> None:
    talk.client("PA", b"bye")
    talk.server("PA", b"bye", ack=talk.client_sequence - 3)
    client, server = talk.client_sequence, talk.server_sequence
    talk.client("FA", ack=server - 3)
    talk.server("FA", ack=client - 3)
    assert talk.state() is State.ESTABLISHED
    talk.client("A")
    assert talk.state() is State.FIN_WAIT
    talk.server("A")
    assert talk.state() is State.TIME_WAIT
    check_invariants(talk.switch)


def test_the_last_ack_must_acknowledge_the_fin(talk: Dialogue) -> None:
    talk.client("FA")
    talk.server("FA")
    assert talk.state() is State.LAST_ACK
    forge(talk, "client", "A", talk.client_sequence, ack=talk.server_sequence - 1)
    assert talk.state() is State.LAST_ACK
    talk.client("A")
    assert talk.state() is State.CLOSE


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_blind_reset_does_not_end_a_handshake(flags: str) -> None:
    talk = Dialogue(make_switch())
    talk.client("S")
    forge(talk, "server", flags, 99, ack=12345)
    forge(talk, "client", flags, 99, ack=12345)
    assert talk.state() is State.SYN_RECV
    talk.server("SA")
    forge(talk, "server", flags, 99, ack=12345)
    forge(talk, "client", flags, 99, ack=12345)
    assert talk.state() is State.SYN_RECV
    talk.client("A")
    assert talk.state() is State.ESTABLISHED


def test_early_data_may_be_acknowledged_with_the_handshake() -> None:
    """TCP Fast Open: the real server answers before the client's ACK has come (RFC 7413)."""
    talk = Dialogue(make_switch())
    talk.client("S", b"GET")
    talk.server("SA")
    forge(talk, "client", "A", talk.client_sequence, ack=talk.server_sequence + 1000)
    assert talk.state() is State.SYN_RECV, "nothing was sent that this could acknowledge"
    talk.server("PA", bytes(1000))
    talk.client("A")
    assert talk.state() is State.ESTABLISHED


def test_a_fin_with_early_data_counts_after_the_handshake() -> None:
    talk = Dialogue(make_switch())
    talk.client("S", b"GET")
    talk.server("SA")
    talk.server("FPA", b"all there is")
    assert talk.state() is State.SYN_RECV
    check_invariants(talk.switch)
    talk.client("A", ack=5001)
    assert talk.state() is State.ESTABLISHED
    talk.client("A")
    assert talk.state() is State.FIN_WAIT
    check_invariants(talk.switch)


@pytest.mark.parametrize("closing", ["reset", "fins"])
def test_a_damaged_syn_opens_nothing_in_the_place_of_a_closed_connection(
    talk: Dialogue, closing: str
) -> None:
    if closing == "reset":
        talk.server("RA")
    else:
        talk.server("FA")
        talk.client("FA")
        talk.server("A")
    closed = talk.connection
    forge(talk, "client", "S", 77, chksum=0x1234)
    assert talk.connection is closed
    assert forge(talk, "client", "S", 77).reason is Reason.PORT_REUSE


@pytest.mark.parametrize("active", [False, True])
def test_a_stranger_with_all_the_time_in_the_world(talk: Dialogue, active: bool) -> None:
    """Random segments of every kind in both directions, while the ends talk or are silent."""
    rng = random.Random(7)
    for turn in range(4000):
        side = rng.choice(["client", "server"])
        flags = rng.choice(["R", "RA", "F", "FA", "S", "SA", "A", "PA", "FPA"])
        forge(talk, side, flags, rng.getrandbits(32), ack=rng.getrandbits(32))
        if active and turn % 8 == 0:
            talk.client("PA", b"ping")
            talk.server("PA", b"pong")
    is_as_before(talk)
