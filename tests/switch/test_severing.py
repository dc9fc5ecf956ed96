"""`on_down = "reset"`: who waits for a real server that goes out of service is told at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Packet

from lb_switch.engine import severing
from lb_switch.engine.changes import ChangeSettings, SetAdminState, SetHealth
from lb_switch.engine.connections.tcp_state import Direction, State
from lb_switch.engine.connections.unsettled import CUT, Unsettled
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.nat.answer_limit import AnswersPerSecond
from lb_switch.engine.packet.protocol import TCP as TCP_NUMBER
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import AdminState, Forward, OnDown, RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    endpoint,
    send,
)
from tests.support.packets import dissect, recomputed, tcp

Place = tuple[str, int]

GIVEN_UP = severing.PROBES * severing.REST + 0.1
"""Seconds after which nobody is asked any more."""


class Client:
    """The client's end and the real server's, which answer as RFC 9293 (3.10.7.4) asks."""

    def __init__(self, talk: Dialogue) -> None:
        self.talk = talk
        self.reset = False
        self.server_reset = False
        self.seen: list[Packet] = []
        self.seen_by_server: list[Packet] = []
        self.mute = False
        self.server_is_mute = False
        self.expected: int | None = None
        """The number that the client waits for; None: what the real server sends next."""
        self.server_expected: int | None = None

    def take_all(self) -> None:
        """Receive what the switch has sent, and answer, until nothing is left."""
        sent, self.talk.sent = self.talk.sent, []
        while sent:
            data = sent.pop(0)
            packet = dissect(data)
            assert bytes(packet) == recomputed(data), "every checksum is right"
            if (packet.dst, packet[TCP].dport) == self.talk.client_place:
                assert (packet.src, packet[TCP].sport) == self.talk.vip
                sent += self._client_takes(packet)
            else:
                assert (packet.dst, packet[TCP].dport) == self.talk.rip
                sent += self._server_takes(packet)

    def _client_takes(self, packet: Packet) -> list[bytes]:
        self.seen.append(packet)
        expected = self.talk.server_sequence if self.expected is None else self.expected
        if self.mute or self.reset:
            return []
        if packet[TCP].flags & "R":
            self.reset = packet[TCP].seq == expected
            return []
        if packet[TCP].seq == expected:
            return []
        return list(self.talk.client("A", ack=expected).verdict.packets)

    def _server_takes(self, packet: Packet) -> list[bytes]:
        self.seen_by_server.append(packet)
        expected = self.talk.client_sequence
        if self.server_expected is not None:
            expected = self.server_expected
        if self.server_is_mute or self.server_reset:
            return []
        if packet[TCP].flags & "R":
            self.server_reset = packet[TCP].seq == expected
            return []
        if packet[TCP].seq == expected:
            return []
        place = (packet.src, packet[TCP].sport)
        answer = tcp(
            (packet.dst, packet[TCP].dport),
            place,
            "A",
            seq=self.talk.server_sequence,
            ack=expected,
        )
        return list(send(self.talk.switch, answer, self.talk.now).verdict.packets)

    def wait(self, seconds: float) -> None:
        end = self.talk.now + seconds
        while (due := self.talk.switch.next_deadline()) is not None and due <= end:
            self.talk.wait(max(0.0, due - self.talk.now))
            self.take_all()
        self.talk.wait(end - self.talk.now)


def switch_of(
    six: bool = False,
    forward: Forward = "nat",
    on_down: OnDown = "reset",
    settings: Settings | None = None,
) -> Switch:
    vip, rips = (VIP6, RIPS6) if six else (VIP, RIPS)
    switch = Switch(settings)
    snat = endpoint((("2001:db8:2::fe" if six else "10.0.2.254"), 1)).ip
    group = VirtualServer(
        "web",
        endpoint(vip),
        TCP_NUMBER,
        make("rr"),
        [RealServer(endpoint(rip)) for rip in rips],
        on_down=on_down,
        forward=forward,
        snat=snat if forward == "full_nat" else None,
    )
    switch.add_virtual_server(group)
    return switch


class FullNatDialogue(Dialogue):
    """The real server sees another client than the one that there is."""

    near: Place | None = None

    def client(self, flags: str, payload: bytes = b"", **fields: int) -> Any:
        seen = super().client(flags, payload, **fields)
        if seen.action is Action.FORWARD:
            self.near = (seen.packet.src, seen.packet[TCP].sport)
        return seen

    def server(self, flags: str, payload: bytes = b"", **fields: int) -> Any:
        place, self.client_place = self.client_place, self.near or self.client_place
        try:
            return super().server(flags, payload, **fields)
        finally:
            self.client_place = place


def talk_of(six: bool = False, **how: Any) -> Dialogue:
    """Return a conversation in which the client has asked and waits for the answer."""
    switch = switch_of(six, **how)
    talk = FullNatDialogue(switch, CLIENT6 if six else CLIENT, VIP6 if six else VIP)
    talk.handshake()
    talk.client("PA", b"GET / HTTP/1.1\r\n\r\n")
    talk.server("A")
    return talk


def down(switch: Switch, server: RealServer, now: float) -> None:
    switch.change(SetHealth(server, False, "connect refused"), now)


def maint(switch: Switch, server: RealServer, now: float) -> None:
    switch.change(SetAdminState(server, AdminState.MAINT), now)


Out = Callable[[Switch, RealServer, float], None]
ways = pytest.mark.parametrize("out", [down, maint])


@ways
@pytest.mark.parametrize("forward", ["nat", "full_nat"])
@pytest.mark.parametrize("six", [False, True], ids=["v4", "v6"])
def test_a_client_that_waits_is_reset_and_the_server_with_it(
    six: bool, forward: Forward, out: Out
) -> None:
    talk = talk_of(six, forward=forward)
    server = talk.connection.real_server
    ends = Client(talk)
    talk.wait(5)
    out(talk.switch, server, talk.now)
    ends.wait(0.1)
    assert ends.reset
    assert [str(each[TCP].flags) for each in ends.seen] == ["A", "R"]
    challenge, reset = ends.seen
    assert challenge[TCP].seq == talk.server_sequence - 1, "old: it must be answered"
    assert challenge[TCP].ack == talk.client_sequence
    assert reset[TCP].seq == talk.server_sequence
    assert ends.server_reset, "its socket must not stay"
    assert [str(each[TCP].flags) for each in ends.seen_by_server] == ["R"]
    assert len(talk.switch.connections) == 0
    assert (server.active, server.inactive) == (0, 0)
    check_invariants(talk.switch)
    ends.wait(100)
    assert len(ends.seen) == 2, "that was all"
    assert talk.switch.next_deadline() is None


@ways
def test_a_client_that_has_more_than_it_acknowledged_is_reset_by_its_own_number(out: Out) -> None:
    talk = talk_of()
    ends = Client(talk)
    talk.server("A", b"the acknowledgement of this was lost")
    out(talk.switch, talk.connection.real_server, talk.now)
    ends.wait(0.1)
    assert ends.reset
    assert ends.seen[-1][TCP].seq == talk.server_sequence


@ways
def test_a_lost_challenge_is_sent_again(out: Out) -> None:
    talk = talk_of()
    ends = Client(talk)
    ends.mute = True
    out(talk.switch, talk.connection.real_server, talk.now)
    ends.wait(0.1)
    assert not ends.reset
    ends.mute = False
    ends.wait(severing.REST)
    assert ends.reset
    assert len(talk.switch.connections) == 0


@ways
def test_who_never_answers_is_given_up_with_a_reset_of_the_last_number(out: Out) -> None:
    talk = talk_of()
    server = talk.connection.real_server
    ends = Client(talk)
    ends.mute = True
    out(talk.switch, server, talk.now)
    ends.wait(GIVEN_UP)
    assert [str(each[TCP].flags) for each in ends.seen] == ["A"] * severing.PROBES + ["R"]
    assert ends.seen[-1][TCP].seq == talk.server_sequence
    assert ends.server_reset
    assert server.active == 0
    check_invariants(talk.switch)
    late = talk.client("A", b"I was away")
    assert late.reason is Reason.REAL_SERVER_DOWN
    assert dissect(late.verdict.packets[0])[TCP].flags == "R"
    ends.wait(talk.switch.settings.timeouts[State.CLOSE] + 1)
    assert len(talk.switch.connections) == 0


@ways
def test_a_server_that_has_more_than_it_acknowledged_is_asked_first(out: Out) -> None:
    """The client's data were under way when it was cut off: only the server knows how many."""
    talk = talk_of()
    server = talk.connection.real_server
    ends = Client(talk)
    talk.client("A", b"this arrives, but its acknowledgement is not back yet")
    arrived = talk.client_sequence
    out(talk.switch, server, talk.now)
    cut = talk.client("A", b"this does not arrive")
    assert cut.reason is Reason.REAL_SERVER_DOWN
    talk.sent += cut.verdict.packets
    ends.server_expected = arrived
    ends.take_all()
    assert ends.reset
    assert [str(each[TCP].flags) for each in ends.seen_by_server] == ["A", "R"]
    assert ends.server_reset
    assert len(talk.switch.connections) == 0
    check_invariants(talk.switch)


def test_a_server_that_does_not_answer_is_asked_again() -> None:
    talk = talk_of()
    server = talk.connection.real_server
    ends = Client(talk)
    talk.client("A", b"one")
    maint(talk.switch, server, talk.now)
    ends.server_is_mute = True
    talk.sent += talk.client("A", b"two").verdict.packets
    ends.take_all()
    assert (talk.state(), talk.connection.unsettled) == (State.CLOSE, CUT)
    assert (server.active, server.inactive) == (0, 1)
    check_invariants(talk.switch)
    ends.server_is_mute = False
    ends.wait(0.1)
    assert ends.server_reset
    assert len(talk.switch.connections) == 0


def test_what_a_cut_off_server_sends_is_answered_by_a_reset_of_its_own_number() -> None:
    talk = talk_of()
    maint(talk.switch, talk.connection.real_server, talk.now)
    talk.client("A", b"one")
    seen = talk.server("PA", b"the answer, too late", ack=0x89ABCDEF)
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.REAL_SERVER_DOWN)
    assert (seen.answer[TCP].flags, seen.answer[TCP].seq) == ("R", 0x89ABCDEF)
    assert (seen.answer.dst, seen.answer[TCP].dport) == talk.rip
    assert len(talk.switch.connections) == 0


def test_a_server_that_comes_back_before_its_turn_keeps_its_connections() -> None:
    talk = talk_of()
    server = talk.connection.real_server
    down(talk.switch, server, talk.now)
    talk.switch.change(SetHealth(server, True, "status 200"), talk.now)
    talk.wait(GIVEN_UP)
    assert talk.sent == []
    assert talk.client("A").reason is Reason.KNOWN_CONNECTION


def test_a_server_that_comes_back_after_the_challenge_keeps_its_connections() -> None:
    talk = talk_of()
    server = talk.connection.real_server
    down(talk.switch, server, talk.now)
    talk.wait(0.1)
    assert len(talk.sent) == 1
    talk.switch.change(SetHealth(server, True, "status 200"), talk.now)
    assert talk.client("A").reason is Reason.KNOWN_CONNECTION
    talk.wait(GIVEN_UP)
    assert len(talk.sent) == 1
    assert talk.state() is State.ESTABLISHED


def test_a_server_that_goes_down_again_is_cut_off_again() -> None:
    talk = talk_of()
    server = talk.connection.real_server
    ends = Client(talk)
    ends.mute = True
    down(talk.switch, server, talk.now)
    ends.wait(1.5)
    talk.switch.change(SetHealth(server, True, "status 200"), talk.now)
    ends.wait(1.5)
    down(talk.switch, server, talk.now)
    ends.mute = False
    ends.wait(0.1)
    assert ends.reset


@pytest.mark.parametrize("on_down", ["keep", "reschedule"])
@ways
def test_the_connections_of_other_groups_stay_as_they_are(on_down: OnDown, out: Out) -> None:
    talk = talk_of(on_down=on_down)
    out(talk.switch, talk.connection.real_server, talk.now)
    talk.wait(GIVEN_UP)
    assert talk.sent == []
    assert talk.state() is State.ESTABLISHED


def test_the_connections_of_other_servers_stay_as_they_are() -> None:
    talk = talk_of()
    group = talk.switch.virtual_servers["web"]
    other = next(each for each in group.real_servers if each is not talk.connection.real_server)
    down(talk.switch, other, talk.now)
    talk.wait(GIVEN_UP)
    assert talk.sent == []
    assert talk.state() is State.ESTABLISHED


def test_drain_stays_gentle() -> None:
    talk = talk_of()
    talk.switch.change(SetAdminState(talk.connection.real_server, AdminState.DRAIN), talk.now)
    talk.wait(GIVEN_UP)
    assert talk.sent == []


def test_a_change_of_on_down_reaches_a_server_that_is_down_already() -> None:
    talk = talk_of(on_down="keep")
    group = talk.switch.virtual_servers["web"]
    down(talk.switch, talk.connection.real_server, talk.now)
    ends = Client(talk)
    ends.wait(GIVEN_UP)
    group.on_down = "reset"
    group.refresh()
    ends.wait(0.1)
    assert ends.reset


@ways
@pytest.mark.parametrize("six", [False, True], ids=["v4", "v6"])
def test_half_open_before_the_server_has_answered(six: bool, out: Out) -> None:
    """The client is in SYN-SENT: a RST must acknowledge its SYN (RFC 9293, 3.10.7.3)."""
    switch = switch_of(six)
    talk = Dialogue(switch, CLIENT6 if six else CLIENT, VIP6 if six else VIP)
    talk.client("S")
    out(switch, talk.connection.real_server, talk.now)
    talk.wait(0.1)
    assert talk.rip is not None
    refusal, reset = map(dissect, talk.sent)
    assert (refusal.dst, refusal[TCP].dport) == talk.client_place
    assert (refusal[TCP].flags, refusal[TCP].ack) == ("RA", talk.client_sequence)
    assert (reset.dst, reset[TCP].dport) == talk.rip
    assert (reset[TCP].flags, reset[TCP].seq) == ("R", talk.client_sequence)
    assert len(switch.connections) == 0
    check_invariants(switch)
    talk.client_sequence -= 1
    assert talk.client("S").reason is Reason.NEW_CONNECTION, "another server takes it"


@ways
def test_half_open_after_the_server_has_answered(out: Out) -> None:
    """The SYN/ACK may have arrived or not: one RST is right for both."""
    switch = switch_of()
    talk = Dialogue(switch)
    talk.client("S")
    talk.server("SA")
    out(switch, talk.connection.real_server, talk.now)
    ends = Client(talk)
    ends.wait(0.1)
    (reset,) = ends.seen
    assert reset[TCP].flags == "RA"
    assert (reset[TCP].seq, reset[TCP].ack) == (talk.server_sequence, talk.client_sequence)
    assert ends.server_reset
    assert len(switch.connections) == 0


@ways
def test_a_client_that_has_closed_its_side_and_waits_is_reset(out: Out) -> None:
    talk = talk_of()
    talk.client("FA")
    talk.server("A")
    assert talk.state() is State.CLOSE_WAIT
    ends = Client(talk)
    out(talk.switch, talk.connection.real_server, talk.now)
    ends.wait(0.1)
    assert ends.reset
    assert ends.server_reset
    assert len(talk.switch.connections) == 0


@ways
def test_a_client_that_waits_for_nothing_more_is_left_alone(out: Out) -> None:
    """The server has said all that it had to say: a RST might only take it from the client."""
    for close in (["FA"], ["FA", "client"]):
        talk = talk_of()
        talk.server("FA")
        talk.client("A")
        if close[1:]:
            talk.client("FA")
        state = talk.state()
        assert state in {State.FIN_WAIT, State.TIME_WAIT}
        out(talk.switch, talk.connection.real_server, talk.now)
        talk.wait(GIVEN_UP)
        assert talk.sent == []
        assert talk.state() is state


def test_the_answer_limit_does_not_make_a_client_forgotten() -> None:
    """Its turn comes again, as long as it has not been told."""
    settings = Settings(answers_per_second=AnswersPerSecond(resets=1))
    switch = switch_of(settings=settings)
    talks = []
    for port in range(60):
        talk = Dialogue(switch, (CLIENT[0], 2000 + port))
        talk.handshake()
        talks.append(talk)
    server = talks[0].connection_of_client().real_server
    down(switch, server, 0.0)
    told = [talk.client("A") for talk in talks]
    limited = sum(each.reason is Reason.ANSWER_LIMIT for each in told)
    assert server.active == sum(
        each.reason is Reason.ANSWER_LIMIT
        for each, talk in zip(told, talks, strict=True)
        if talk.rip == (str(server.endpoint.ip), 8080)
    )
    assert limited == 0 or server.active == limited


def many(count: int, others: int = 0) -> tuple[Switch, list[RealServer]]:
    """Return a switch with connections that were never handled as packets, to save time."""
    switch = switch_of(settings=Settings(max_connections=count + others + 1))
    group = switch.virtual_servers["web"]
    tail = VIP[1].to_bytes(2, "big")
    vip = group.endpoint.ip.packed
    first, second = group.real_servers[:2]
    numbers = itertools.chain(range(count), range(count, count + others))
    for number in numbers:
        source = (0x0B000000 + number).to_bytes(4, "big")
        key = source + vip + (1024).to_bytes(2, "big") + tail
        server = first if number < count else second
        connection = switch._books.open(TCP_NUMBER, key, group, server, State.ESTABLISHED, 0.0)
        for direction in Direction:
            connection.note_acked(direction, 5000)
    return switch, group.real_servers


@pytest.mark.alone
@pytest.mark.parametrize("others", [0, 100_000])
def test_100_000_connections_stall_no_packet(
    others: int, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 100_000
    switch, (first, second, _) = many(count, others)
    timeouts = dict(switch.settings.timeouts)
    timeouts[State.ESTABLISHED] = 86_400.0
    switch.change(ChangeSettings(replace(switch.settings, timeouts=timeouts)), 0.0)
    now = 1.0
    started = time.process_time()
    down(switch, first, now)
    at_the_transition = time.process_time() - started
    calls: list[float] = []
    sent: list[tuple[float, int]] = []
    while (due := switch.next_deadline()) is not None and due < now + 60:
        now = max(now, due)
        if now > 1.0 + severing.REST and sum(n for _, n in sent) >= count:
            break
        started = time.process_time()
        packets = switch.handle_timers(now)
        calls.append(time.process_time() - started)
        sent.append((now, len(packets)))
    took = now - 1.0
    calls.sort()
    with capsys.disabled():
        print(
            f"\n  {count} connections of one server ({others} of another): at the transition"
            f" {at_the_transition * 1e3:.2f} ms; {len(calls)} calls, the longest"
            f" {calls[-1] * 1e3:.2f} ms, the median {calls[len(calls) // 2] * 1e3:.2f} ms;"
            f" {took:.1f} s of the clock"
        )
    assert sum(n for _, n in sent) >= count
    assert max(n for _, n in sent) <= 2 * severing.SLICE
    in_a_second = max(
        sum(n for at, n in sent[i : i + 300] if at < sent[i][0] + 1) for i in range(len(sent) - 300)
    )
    assert in_a_second <= severing.SLICE / severing.PAUSE * 1.1
    assert at_the_transition < 0.005
    assert calls[-1] < 0.005
    assert second.active == others


def test_closed_connections_take_nobodys_turn() -> None:
    """The table holds them for late packets; whoever waits is asked in the first slice."""
    switch, (first, _, _) = many(1000)
    closed = [each for number, each in enumerate(switch.connections) if number % 100]
    for connection in closed:
        connection.unsettled = Unsettled()
        switch._books.change_state(connection, State.TIME_WAIT, 0.0)
    down(switch, first, 0.0)
    assert len(switch.handle_timers(0.0)) == 10
    check_invariants(switch)


def test_a_finished_server_without_connections_is_let_go() -> None:
    talk = talk_of()
    group = talk.switch.virtual_servers["web"]
    ends = Client(talk)
    server = talk.connection.real_server
    down(talk.switch, server, talk.now)
    ends.wait(GIVEN_UP)
    assert len(talk.switch.connections) == 0
    group.remove(server)
    group.refresh()
    assert server not in talk.switch._severing._turns
    assert talk.switch.next_deadline() is None


def test_the_last_connection_of_a_table_is_found() -> None:
    """Every one is asked exactly once a round, wherever its key puts it."""
    switch, (first, second, _) = many(3000, 500)
    asked: list[str] = []
    now = 0.0
    down(switch, first, now)
    while (due := switch.next_deadline()) is not None and due < severing.REST:
        now = max(now, due)
        asked += [dissect(each)[IP].dst for each in switch.handle_timers(now)]
    assert len(asked) == len(set(asked)) == 3000
    assert second.active == 500
