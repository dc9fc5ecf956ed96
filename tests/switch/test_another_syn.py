"""A client's new SYN where the switch still has its old connection: the real server decides.

What it does with the SYN says whether it has forgotten that connection: it takes it (RFC 9293,
3.10.7.2), refuses it (3.10.7.1), or knows better and asks (a challenge ACK: 3.10.7.4).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import kind_of
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.events import Cause, ConnectionEvent, ConnectionStage, Event
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Reason
from tests.support.dialogue import Seen, endpoint, send
from tests.support.packets import tcp

HALF_CLOSED = {
    State.ESTABLISHED: (),
    State.FIN_WAIT: ("server FA",),
    State.CLOSE_WAIT: ("client FA",),
    State.LAST_ACK: ("client FA", "server FA"),
}


class Talk:
    """A client and whichever real server it is given, through plain or full NAT."""

    def __init__(self, version: int, forward: str, observed: bool) -> None:
        net = "2001:db8:1::" if version == 6 else "10.0.1."
        self.client_place = (f"{net}11", 40000)
        self.vip = (f"{net}100", 80)
        rips = [(f"{net}2{n}", 8080) for n in range(3)]
        self.switch = Switch(Settings())
        self.events: list[Event] = []
        if observed:
            self.switch.listen(self.events.append)
        group = VirtualServer(
            "web",
            endpoint(self.vip),
            TCP,
            make("rr"),
            [RealServer(endpoint(rip)) for rip in rips],
            forward=forward,  # type: ignore[arg-type]
            snat=[endpoint((f"{net}200", 1)).ip],
        )
        self.switch.add_virtual_server(group)
        self.now = 0.0
        self.numbers = {"client": 1000, "server": 5000}
        self.rip = self.peer = ("", 0)

    def client(self, flags: str, payload: bytes = b"", **fields: Any) -> Seen:
        numbers = self._numbers("client", flags, fields)
        seen = send(
            self.switch, tcp(self.client_place, self.vip, flags, payload, **numbers), self.now
        )
        packet = seen.packet
        self.rip = (packet.dst, packet["TCP"].dport)
        self.peer = (packet.src, packet["TCP"].sport)
        self._went("client", flags, payload, fields)
        return seen

    def server(self, flags: str, payload: bytes = b"", **fields: Any) -> Seen:
        numbers = self._numbers("server", flags, fields)
        seen = send(self.switch, tcp(self.rip, self.peer, flags, payload, **numbers), self.now)
        packet = seen.packet
        assert (packet.src, packet["TCP"].sport) == self.vip
        assert (packet.dst, packet["TCP"].dport) == self.client_place
        self._went("server", flags, payload, fields)
        return seen

    def _numbers(self, side: str, flags: str, fields: dict[str, Any]) -> dict[str, Any]:
        other = "server" if side == "client" else "client"
        own = {"seq": self.numbers[side], "ack": self.numbers[other] if "A" in flags else 0}
        return {**own, **fields}

    def _went(self, side: str, flags: str, payload: bytes, fields: dict[str, Any]) -> None:
        if "seq" not in fields:
            self.numbers[side] += len(payload) + ("S" in flags) + ("F" in flags)

    def converse(self) -> None:
        self.client("S")
        self.server("SA")
        self.client("A")
        self.client("PA", b"question")
        self.server("PA", b"answer")
        self.client("A")
        self.server("A")

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.switch.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.switch.handle_timers(self.now)
        self.now = end

    @property
    def connection(self) -> Connection:
        (connection,) = self.switch.connections
        return connection

    def state(self) -> State:
        return self.connection.state

    @property
    def counts(self) -> tuple[int, int]:
        server = self.connection.real_server
        return server.active, server.inactive

    def begin_anew(self) -> None:
        """The client and the real server know nothing of the old connection any more."""
        self.numbers = {"client": 700_000, "server": 3_000_000_000}


@pytest.fixture(
    params=itertools.product((4, 6), ("nat", "full_nat"), (False, True)),
    ids=lambda each: f"IPv{each[0]}-{each[1]}-{'observed' if each[2] else 'short'}",
)
def talk(request: pytest.FixtureRequest) -> Iterator[Talk]:
    talk = Talk(*request.param)
    talk.converse()
    yield talk
    check_invariants(talk.switch)


@pytest.fixture(params=HALF_CLOSED, ids=lambda state: state.name)
def old(talk: Talk, request: pytest.FixtureRequest) -> Talk:
    """The connection, in the state that is asked for."""
    for word in HALF_CLOSED[request.param]:
        side, flags = word.split()
        getattr(talk, side)(flags)
    assert talk.state() is request.param
    return talk


def test_one_that_the_real_server_takes_is_a_new_connection(old: Talk) -> None:
    rip, peer, total = old.rip, old.peer, old.connection.real_server.connections_total
    old.begin_anew()
    before = old.state()
    assert old.client("S").reason is Reason.KNOWN_CONNECTION
    assert old.state() is before, "a SYN alone changes nothing"
    old.server("SA")
    assert old.state() is State.SYN_RECV
    assert old.counts == (1, 0)
    assert kind_of(old.connection) is QueueKind.HALF_OPEN
    assert old.connection.real_server.connections_total == total + 1
    old.client("A")
    assert old.state() is State.ESTABLISHED
    assert kind_of(old.connection) is QueueKind.GREETED, "what the old one proved counts no more"
    assert old.counts == (1, 0)
    old.client("PA", b"another question")
    old.server("PA", b"another answer")
    old.client("PA", b"one more")
    assert (old.rip, old.peer) == (rip, peer)
    old.wait(DEFAULT_TIMEOUTS[State.ESTABLISHED] - 1)
    assert old.state() is State.ESTABLISHED
    old.server("FA")
    assert old.state() is State.FIN_WAIT


def test_it_is_told_as_the_end_of_one_and_the_beginning_of_another(old: Talk) -> None:
    old.switch.listen(old.events.append)
    old.begin_anew()
    old.client("S")
    state = old.state()
    old.events.clear()
    old.server("SA")
    told = [each for each in old.events if isinstance(each, ConnectionEvent)]
    assert [(each.stage, each.old_state, each.state) for each in told] == [
        (ConnectionStage.CLOSED, state, state),
        (ConnectionStage.OPENED, None, State.SYN_RECV),
    ]
    assert told[0].cause == Cause.TAKEN_ANEW


def test_one_that_the_real_server_refuses_closes_the_old_one(old: Talk) -> None:
    old.begin_anew()
    old.client("S")
    seen = old.server("RA", seq=0)
    assert seen.reason is Reason.KNOWN_CONNECTION
    assert old.state() is State.CLOSE
    rip = old.rip
    old.numbers["client"] -= 1  # the client tries again
    assert old.client("S").reason is Reason.PORT_REUSE
    assert old.state() is State.SYN_RECV
    assert old.rip != rip, "scheduled anew"


@pytest.mark.parametrize("way", ["short timeout", "numbers"])
def test_a_refusal_leaves_nothing_to_take_back(old: Talk, way: str) -> None:
    """The real server has said that there is no connection: no late packet opens it again."""
    seen_by_client = old.numbers["server"]
    old.begin_anew()
    old.client("S")
    old.server("RA", seq=0)
    if way == "numbers":
        old.client("A", seq=1009, ack=seen_by_client)
    assert old.state() is State.CLOSE
    old.wait(DEFAULT_TIMEOUTS[State.CLOSE] + 2)
    assert len(old.switch.connections) == 0


@pytest.mark.parametrize(
    "answer",
    [
        ("RA", {"seq": 0, "ack": 700_000}),
        ("RA", {"seq": 0, "ack": 700_002}),
        ("RA", {"seq": 1, "ack": 700_001}),
        ("R", {"seq": 0, "ack": 700_001}),
        ("RA", {"seq": 0, "ack": 700_001, "chksum": 0x1234}),
        ("SA", {"ack": 700_000}),
        ("SA", {"ack": 700_002}),
        ("SA", {"ack": 700_001, "chksum": 0x1234}),
        ("S", {"ack": 700_001}),
    ],
    ids=str,
)
def test_an_answer_to_something_else_changes_nothing(
    old: Talk, answer: tuple[str, dict[str, Any]]
) -> None:
    flags, fields = answer
    state, counts = old.state(), old.counts
    old.begin_anew()
    old.client("S")
    old.server(flags, **fields)
    assert (old.state(), old.counts) == (state, counts)


def test_without_a_syn_no_answer_counts(old: Talk) -> None:
    state = old.state()
    old.begin_anew()
    old.server("RA", seq=0, ack=700_001)
    old.server("SA", ack=700_001)
    assert old.state() is state


def test_who_knows_better_keeps_the_connection(old: Talk) -> None:
    """A forged SYN: the real server answers with a challenge ACK, and talks on."""
    state, counts = old.state(), old.counts
    old.client("S", seq=700_000)
    old.server("A")
    old.server("SA", seq=9, ack=700_001)
    old.server("RA", seq=0, ack=700_001)
    assert (old.state(), old.counts) == (state, counts)
    if state is State.ESTABLISHED:
        old.client("PA", b"more")
        assert old.connection.unsettled is None, "its packets take the short road again"


def test_a_syn_that_comes_again_keeps_its_server_and_its_port(talk: Talk) -> None:
    """The real server has an older connection on these ports, and the client clears it away."""
    talk.client_place = (talk.client_place[0], 40001)
    talk.numbers = {"client": 700_000, "server": 3_000_000_000}
    talk.client("S")
    rip, peer = talk.rip, talk.peer
    talk.server("A", seq=77, ack=88)
    talk.client("R", seq=88)
    assert (talk.rip, talk.peer) == (rip, peer)
    talk.now += 1
    talk.numbers["client"] -= 1
    assert talk.client("S").reason is Reason.KNOWN_CONNECTION
    assert (talk.rip, talk.peer) == (rip, peer)
    talk.server("SA")
    talk.client("A")
    talk.client("PA", b"question")
    talk.server("PA", b"answer")
    states = sorted(each.state for each in talk.switch.connections)
    assert states == [State.ESTABLISHED, State.ESTABLISHED]


@pytest.fixture(
    params=itertools.product((4, 6), ("nat", "full_nat"), (False, True)),
    ids=lambda each: f"IPv{each[0]}-{each[1]}-{'observed' if each[2] else 'short'}",
)
def opening(request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A client that has sent its SYN."""
    talk = Talk(*request.param)
    talk.client("S")
    yield talk
    check_invariants(talk.switch)


def test_the_answer_to_an_older_syn_opens_nothing(opening: Talk) -> None:
    """Who had the port before was never there; its real server repeats its SYN/ACK."""
    rip, peer = opening.rip, opening.peer
    opening.server("SA", seq=77, ack=88)
    opening.client("R", seq=88)
    assert opening.state() is State.SYN_RECV
    opening.numbers["client"] -= 1
    assert opening.client("S").reason is Reason.KNOWN_CONNECTION
    assert (opening.rip, opening.peer) == (rip, peer), "the same server and the same port"
    opening.client("A", seq=1001, ack=78)
    assert opening.state() is State.SYN_RECV
    opening.server("SA")
    opening.client("A")
    assert opening.state() is State.ESTABLISHED


def test_a_client_that_starts_over_while_it_opens(opening: Talk) -> None:
    """With another number: the real server asks, the client clears away, and comes again."""
    opening.server("SA")
    opening.numbers = {"client": 700_000, "server": 9_000_000}
    opening.client("S")
    opening.server("SA", seq=5000, ack=1001)
    opening.client("R", seq=1001)
    opening.numbers["client"] -= 1
    opening.client("S")
    opening.server("SA")
    opening.client("A")
    assert opening.state() is State.ESTABLISHED


def test_data_in_the_syn_may_be_acknowledged_with_it(opening: Talk) -> None:
    """RFC 7413, section 4.2.2."""
    opening.server("SA", ack=1001 + 100)
    opening.client("A", seq=1101, ack=5001)
    assert opening.state() is State.ESTABLISHED
