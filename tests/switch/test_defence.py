"""Floods: what an attacker can fill, and what it cannot take away."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP

from lb_switch.engine.connections import queues
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import kind_of
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.switch import Settings
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    Seen,
    make_switch,
    send,
    udp_dialogue,
)
from tests.support.packets import tcp, udp
from tests.support.soundness import repaired

FLOOD_SOURCES = int(os.environ.get("LB_SWITCH_FLOOD_SOURCES", "60000"))
FLOOD_BOUND = int(os.environ.get("LB_SWITCH_FLOOD_BOUND", "3000"))
"""The large run takes two and a half minutes:
LB_SWITCH_FLOOD_SOURCES=2000000 LB_SWITCH_FLOOD_BOUND=100000."""


@pytest.fixture(params=["IPv4", "IPv6"])
def talk(request: pytest.FixtureRequest) -> Dialogue:
    if request.param == "IPv4":
        return Dialogue(make_switch())
    return Dialogue(make_switch(VIP6, RIPS6), CLIENT6, VIP6)


# -- a handshake that only looks like one ------------------------------------------------------


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "F", "SA", ""])
@pytest.mark.parametrize("answered", [False, True])
def test_who_does_not_know_the_servers_number_establishes_nothing(
    talk: Dialogue, flags: str, answered: bool
) -> None:
    """A forged source never sees the SYN/ACK: its ACK is a guess, one of 2**32."""
    talk.client("S")
    if answered:
        talk.server("SA")
    # Once the SYN/ACK has passed, its number is the one that must not be hit.
    near = talk.server_sequence
    for guess in (near - 1, near + 1, near + (1 << 17), 1 << 31):
        talk.client(flags, ack=guess, seq=1001)
        assert talk.state() is State.SYN_RECV
    assert talk.switch.connections.half_open == 1
    talk.client_sequence = 1001
    if not answered:
        talk.server("SA")
    talk.client("A")
    assert talk.state() is State.ESTABLISHED
    check_invariants(talk.switch)


def test_a_handshake_whose_last_ack_was_lost(talk: Dialogue) -> None:
    """The next segment, here a FIN with data, completes it."""
    talk.client("S")
    talk.server("SA")
    talk.client("FA", b"hello and goodbye")
    assert talk.state() is State.CLOSE_WAIT
    assert talk.switch.connections.half_open == 0


def test_the_server_answers_a_syn_twice_with_different_numbers(talk: Dialogue) -> None:
    """It forgot the first (a restart); the client acknowledges the latest."""
    talk.client("S")
    talk.server("SA")
    talk.client("S", seq=1000)
    talk.server_sequence = 3_000_000_000
    talk.server("SA")
    talk.client("A")
    assert talk.state() is State.ESTABLISHED


def test_the_server_refuses_after_it_had_answered(talk: Dialogue) -> None:
    """A RST that answers a SYN has the sequence number zero."""
    talk.client("S")
    talk.server("SA")
    talk.server("RA", seq=0)
    assert talk.state() is State.CLOSE


# -- a full table ------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["R", "F", "FA", "A", "SF"])
def test_no_second_packet_of_a_flood_makes_its_entries_stay(flags: str) -> None:
    """SYN and RST from each source: what they leave is closed, and gives way as well."""
    switch = make_switch(settings=Settings(max_connections=5), protocols=(6,))
    for port in range(1, 40):
        opened = send(switch, tcp(("10.9.9.9", port), VIP, "S"))
        assert opened.reason is Reason.NEW_CONNECTION
        send(switch, tcp(("10.9.9.9", port), VIP, flags, seq=1, ack=77))
        check_invariants(switch)
    talk = Dialogue(switch)
    talk.handshake()
    assert len(switch.connections) == 5


def test_half_open_ones_give_way_before_closed_ones() -> None:
    switch = make_switch(settings=Settings(max_connections=2), protocols=(6,))
    closed = Dialogue(switch)
    closed.handshake()
    closed.server("R")
    send(switch, tcp(("10.9.9.9", 1), VIP, "S"))
    send(switch, tcp(("10.9.9.9", 2), VIP, "S"))
    states = sorted(connection.state for connection in switch.connections)
    assert states == [State.SYN_RECV, State.CLOSE]


def test_a_flood_of_datagrams_takes_away_only_what_was_never_answered() -> None:
    switch = make_switch(settings=Settings(max_connections=6))
    there, back = udp_dialogue(switch)
    assert back.action is Action.FORWARD
    established = Dialogue(switch)
    established.handshake()
    opening = Dialogue(switch, client=("10.0.1.12", 5))
    opening.client("S")
    for port in range(1, 40):
        assert send(switch, udp(("10.9.9.9", port), VIP, b"?" * 20)).reason is (
            Reason.NEW_CONNECTION
        )
        check_invariants(switch)
    opening.server("SA")
    opening.client("A")
    again = send(switch, udp(CLIENT, VIP, b"another question"))
    assert again.reason is Reason.KNOWN_CONNECTION
    assert again.packet.dst == there.packet.dst
    assert established.client("A", b"alive").reason is Reason.KNOWN_CONNECTION
    assert opening.client("A", b"alive").reason is Reason.KNOWN_CONNECTION


@pytest.fixture(params=["IPv4", "IPv6"])
def six(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "IPv6")


class Flooded:
    """A switch with a small table, and a flood of any kind, in the names of ever other sources."""

    def __init__(self, six: bool, bound: int = 64, **more: Any) -> None:
        self.vip, self.client = (VIP6, CLIENT6) if six else (VIP, CLIENT)
        self.network = "2001:db8:9::" if six else "10.9.9."
        settings = Settings(max_connections=bound, unknown_tcp="schedule", **more)
        self.switch = make_switch(self.vip, RIPS6 if six else RIPS, settings=settings)
        self.now = 0.0
        self.port = 0

    def source(self) -> tuple[str, int]:
        self.port += 1
        return f"{self.network}{1 + self.port % 9}", 1000 + self.port // 9

    def talk(self, port: int) -> Dialogue:
        return Dialogue(self.switch, (self.client[0], port), self.vip)

    def ask(self, client: tuple[str, int], times: int = 1, answers: bool = True) -> Seen:
        """Ask by UDP, `times` over; a real server answers."""
        for _ in range(times):
            seen = send(self.switch, udp(client, self.vip, b"a question of some length"), self.now)
            if answers and seen.action is Action.FORWARD:
                rip = (seen.packet.dst, seen.packet[UDP].dport)
                send(self.switch, udp(rip, client, b"an answer of some length"), self.now)
        return seen

    def flood(self, kind: str, count: int = 300) -> None:
        for _ in range(count):
            self.now += 0.001
            client = self.source()
            if kind in {"S", "A"}:
                seen = send(self.switch, tcp(client, self.vip, kind, ack=kind == "A"), self.now)
                assert seen.action is Action.FORWARD
            elif kind == "reset":
                talk = Dialogue(self.switch, client, self.vip)
                talk.client("S")
                talk.client("R")
            else:
                how = {"unanswered": (1, False), "answered": (1, True), "twice": (2, True)}
                assert self.ask(client, *how[kind]).action is Action.FORWARD


FLOODS = ["S", "A", "reset", "unanswered", "answered", "twice"]


@pytest.mark.parametrize("one_packet", [False, True])
@pytest.mark.parametrize("kind", FLOODS)
def test_no_flood_keeps_a_newcomer_out(six: bool, kind: str, one_packet: bool) -> None:
    """Neither TCP nor UDP, whatever filled the table, and with one-packet scheduling too."""
    bed = Flooded(six)
    bed.switch.virtual_servers["dns"].one_packet = one_packet
    established = bed.talk(1)
    established.handshake()
    bed.flood(kind)
    check_invariants(bed.switch)
    assert len(bed.switch.connections) == 64
    opening = bed.talk(2)
    opening.client("S")
    question = (bed.client[0], 3)
    asked = bed.ask(question, answers=False)
    assert asked.action is Action.FORWARD
    bed.flood(kind, 7)  # while the answers are on their way
    opening.server("SA")
    opening.client("A")
    assert opening.connection_of_client().state is State.ESTABLISHED
    rip = (asked.packet.dst, asked.packet[UDP].dport)
    answer = send(bed.switch, udp(rip, question, b"an answer of some length"), bed.now)
    assert answer.reason is Reason.KNOWN_CONNECTION
    bed.flood(kind)
    for talk in (established, opening):
        assert talk.client("A", b"alive").reason is Reason.KNOWN_CONNECTION
        assert talk.server("A", b"alive").reason is Reason.KNOWN_CONNECTION
    check_invariants(bed.switch)


@pytest.mark.parametrize("kind", FLOODS)
def test_who_talks_by_udp_outlives_a_flood(six: bool, kind: str) -> None:
    """A conversation that is in use, while a thousand forged ones come and go."""
    bed = Flooded(six)
    place = (bed.client[0], 5)
    server = bed.ask(place, 8).packet.dst
    for _ in range(20):
        bed.flood(kind, 50)
        bed.now += 1.0
        seen = bed.ask(place)
        assert (seen.reason, seen.packet.dst) == (Reason.KNOWN_CONNECTION, server)
        check_invariants(bed.switch)


def test_a_lone_ack_is_no_established_connection(six: bool) -> None:
    """`unknown_tcp = "schedule"`: until data have come from both sides it gives way."""
    bed = Flooded(six, bound=8)
    real = bed.talk(1)
    real.client("A", b"in mid-stream", ack=1)
    for _ in range(2):
        real.server("A", b"the real server sends data " * 4)
        real.client("A", b"and the client too")
    bed.flood("A", 40)
    check_invariants(bed.switch)
    assert real.client("A", b"alive").reason is Reason.KNOWN_CONNECTION
    assert real.server("A", b"alive").reason is Reason.KNOWN_CONNECTION
    talk = bed.talk(2)
    talk.handshake()
    assert talk.connection_of_client().state is State.ESTABLISHED


def test_a_syn_that_is_answered_proves_no_lone_ack(six: bool) -> None:
    """An ACK and a SYN in the same forged name: the real server repeats its SYN/ACK."""
    bed = Flooded(six, bound=16)
    for _ in range(40):
        talk = Dialogue(bed.switch, bed.source(), bed.vip)
        assert talk.client("A", ack=1).action is Action.FORWARD
        talk.client("S")
        talk.client("S")
        for _ in range(3):
            talk.server("SA")
        talk.wait(65)
    honest = bed.talk(2)
    honest.handshake()
    assert honest.connection_of_client().state is State.ESTABLISHED


def test_all_floods_at_once_leave_each_kind_its_share(six: bool) -> None:
    bed = Flooded(six, bound=140)
    talks = [bed.talk(port) for port in range(20)]
    for talk in talks:
        talk.handshake()
        talk.client("PA", b"hello")
        talk.server("A")
    for _ in range(300):
        for kind in FLOODS:
            bed.flood(kind, 1)
    check_invariants(bed.switch)
    lengths = {queue.kind: queue.length for queue in bed.switch.queues.by_kind}
    # That both have gone on is noted when somebody looks.
    assert lengths.pop(QueueKind.PROVED) + lengths.pop(QueueKind.GREETED) == 20
    assert sum(lengths.values()) == 120
    for queued in set(lengths) - {QueueKind.ONE_PACKET, QueueKind.LASTING}:
        assert lengths[queued] >= 120 // 8, lengths
    for talk in talks:
        assert talk.client("A", b"alive").reason is Reason.KNOWN_CONNECTION


def test_one_packet_of_a_large_table_of_answered_questions_walks_nowhere() -> None:
    """It took 400 ms with a million of them: each was looked at in the first packet's time."""
    bed = Flooded(six=False, bound=2000)
    bed.flood("answered", 2000)
    looks = 0

    def counted(connection: Connection) -> QueueKind:
        nonlocal looks
        looks += 1
        return kind_of(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "kind_of", counted)
        bed.flood("answered", 1)
    assert looks <= queues.LOOKS + 2
    assert len(bed.switch.connections) == 2000


# -- half-open connections of one source -------------------------------------------------------


def test_a_source_has_so_many_half_open_connections_and_no_more(talk: Dialogue) -> None:
    switch = make_switch(
        talk.vip,
        RIPS6 if ":" in talk.vip[0] else RIPS,
        settings=Settings(max_half_open_per_source=3),
    )
    host = talk.client_place[0]
    for port in (1, 2, 3):
        assert send(switch, tcp((host, port), talk.vip, "S")).reason is Reason.NEW_CONNECTION
    seen = send(switch, tcp((host, 4), talk.vip, "S"))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.HALF_OPEN_LIMIT)
    assert send(switch, tcp((host, 1), talk.vip, "S")).reason is Reason.KNOWN_CONNECTION
    neighbour = host[:-1] + "9"
    assert send(switch, tcp((neighbour, 4), talk.vip, "S")).reason is Reason.NEW_CONNECTION
    connection = next(c for c in switch.connections if c.original_key[-4:-2] == b"\x00\x01")
    rip = connection.real_server.endpoint
    send(switch, tcp((str(rip.ip), rip.port), (host, 1), "SA", seq=5, ack=1))
    send(switch, tcp((host, 1), talk.vip, "A", seq=1, ack=6))
    assert send(switch, tcp((host, 4), talk.vip, "S")).reason is Reason.NEW_CONNECTION
    check_invariants(switch)


def test_half_open_connections_of_a_source_end_with_their_timeout() -> None:
    switch = make_switch(settings=Settings(max_half_open_per_source=1))
    talk = Dialogue(switch)
    talk.client("S")
    assert send(switch, tcp((CLIENT[0], 7), VIP, "S")).reason is Reason.HALF_OPEN_LIMIT
    talk.wait(61)
    seen = send(switch, tcp((CLIENT[0], 7), VIP, "S"), talk.now)
    assert seen.reason is Reason.NEW_CONNECTION


# -- the flood ---------------------------------------------------------------------------------


def test_a_flood_of_syns_leaves_transfers_intact_and_memory_bounded() -> None:
    """FLOOD_SOURCES distinct sources, one after the other, at 100,000 a second."""
    transfers = max(10, FLOOD_BOUND // 100)
    switch = make_switch(settings=Settings(max_connections=FLOOD_BOUND), protocols=(6,))
    talks = [Dialogue(switch, client=("10.0.1.11", 1024 + n)) for n in range(transfers)]
    for talk in talks:
        talk.handshake()
    carriers = {talk.connection_of_client(): talk.rip for talk in talks}
    syn = bytearray(tcp(("10.0.0.0", 1234), VIP, "S"))
    buffer = bytearray(len(syn))

    def flood(first: int, last: int) -> None:
        for number in range(first, last):
            buffer[:] = syn
            buffer[12:16] = (0x0B000000 + number).to_bytes(4, "big")
            now = number / 100_000
            verdict = switch.handle_packet(buffer, 0, len(buffer), now)
            assert verdict.reason is Reason.NEW_CONNECTION
            if number % 1000 == 0:
                while (due := switch.next_deadline()) is not None and due <= now:
                    switch.handle_timers(now)
                talk = talks[number // 1000 % transfers]
                talk.now = now
                assert talk.client("A", b"data").reason is Reason.KNOWN_CONNECTION
                assert talk.server("A", b"data").action is Action.FORWARD

    settled = min(FLOOD_SOURCES // 2, 3 * FLOOD_BOUND)
    flood(0, settled)
    gc.collect()
    tracemalloc.start()
    try:
        flood(settled, FLOOD_SOURCES)
        gc.collect()
        growth, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All that was allocated since is what is in the table now: each entry was replaced.
    assert growth < 1200 * FLOOD_BOUND, f"{growth} bytes for {FLOOD_BOUND} connections"
    assert len(switch.connections) == FLOOD_BOUND
    check_invariants(switch)
    assert carriers == {talk.connection_of_client(): talk.rip for talk in talks}
    assert switch.counters[Reason.NEW_CONNECTION] == FLOOD_SOURCES + transfers
    assert switch.counters[Reason.TABLE_FULL] == 0
    assert switch.connections.half_open == FLOOD_BOUND - transfers
    opened = sum(rs.connections_total for rs in switch.virtual_servers["web"].real_servers)
    assert opened == FLOOD_SOURCES + transfers


def test_the_flood_is_made_of_sound_packets() -> None:
    """Or the test above would measure how packets are refused."""
    syn = tcp(("10.0.0.0", 1234), VIP, "S")
    assert repaired(syn) == syn
    assert send(make_switch(), syn).packet[TCP].flags == "S"
