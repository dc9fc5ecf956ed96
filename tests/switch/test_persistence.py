"""Persistence stands before the scheduler; one-packet scheduling asks it every time."""

from __future__ import annotations

import gc

import pytest
from scapy.layers.inet import UDP

from lb_switch.engine.changes import SetAdminState, SetHealth, SetWeight
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.scheduling import persistence as bounds
from lb_switch.engine.scheduling.persistence import Persistence, Template
from lb_switch.engine.servers import AdminState, RealServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    Seen,
    endpoint,
    make_switch,
    send,
)
from tests.support.packets import edited, tcp, udp

Place = tuple[str, int]


class Bed:
    """A switch with persistence of 60 seconds, rr, and some real servers of one family."""

    def __init__(self, six: bool, prefix_length: int = 0) -> None:
        self.vip, self.client = (VIP6, CLIENT6) if six else (VIP, CLIENT)
        self.rips = RIPS6 if six else RIPS[:2]
        self.switch = make_switch(self.vip, self.rips)
        self.group = self.switch.virtual_servers["web"]
        self.group.persistence = Persistence(60.0, prefix_length)
        self.port = 0

    def connect(self, host: str | None = None, now: float = 0.0) -> str:
        """Open a connection from a fresh port; return the real server's address."""
        self.port += 1
        client = (host or self.client[0], self.port)
        return str(send(self.switch, tcp(client, self.vip, "S"), now).packet.dst)

    def server(self, address: str) -> RealServer:
        return next(rs for rs in self.group.real_servers if str(rs.endpoint.ip) == address)


@pytest.fixture(params=[False, True], ids=["IPv4", "IPv6"])
def bed(request: pytest.FixtureRequest) -> Bed:
    return Bed(request.param)


def test_a_client_comes_back_to_its_server(bed: Bed) -> None:
    first = bed.connect()
    assert {bed.connect() for _ in range(9)} == {first}
    others = {bed.connect(bed.client[0] + digit) for digit in "1234"}
    assert others == {rip[0] for rip in bed.rips}, "others are scheduled as ever"


def test_the_timeout_starts_anew_with_each_connection(bed: Bed) -> None:
    first = bed.connect(now=0.0)
    assert bed.connect(now=59.0) == first
    assert bed.connect(now=118.0) == first
    other = bed.connect(now=178.0)
    assert other != first, "60 seconds later the rotation goes on"


@pytest.mark.parametrize("how", ["down", "drain", "weight 0", "maint", "removed"])
def test_a_server_out_of_service_is_never_forced_on_anybody(bed: Bed, how: str) -> None:
    first = bed.connect()
    server = bed.server(first)
    if how == "down":
        bed.switch.change(SetHealth(server, False, "timeout"), 1.0)
    elif how == "weight 0":
        bed.switch.change(SetWeight(server, 0), 1.0)
    elif how == "removed":
        bed.group.remove(server)
    else:
        bed.switch.change(SetAdminState(server, AdminState(how)), 1.0)
    second = bed.connect(now=2.0)
    assert second != first
    if how == "down":
        bed.switch.change(SetHealth(server, True, "connect"), 3.0)
        assert bed.connect(now=4.0) == second, "it has a new server now"
    check_invariants(bed.switch)


@pytest.mark.parametrize(
    ("six", "length", "same", "other"),
    [
        (False, 24, "10.0.1.200", "10.0.3.11"),
        (False, 9, "10.127.0.1", "10.128.0.1"),
        (True, 64, "2001:db8:1::ffff", "2001:db8:3::11"),
        (True, 33, "2001:db8:7fff::1", "2001:db8:8000::1"),
    ],
)
def test_a_network_is_one_client(six: bool, length: int, same: str, other: str) -> None:
    bed = Bed(six, length)
    first = bed.connect()
    assert bed.connect(same) == first
    assert bed.connect(other) != first
    assert bed.connect(other) != first
    assert bed.connect(same) == first


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_CLIENTS", 50)
    bed = Bed(six=False)
    assert bed.group.persistence is not None
    for number in range(200):
        bed.connect(f"10.7.{number}.1")
        assert len(bed.group.persistence) <= 51


def test_port_reuse_and_persistence(bed: Bed) -> None:
    talk = Dialogue(bed.switch, (bed.client[0], 99), bed.vip)
    talk.handshake()
    first = talk.rip
    talk.client("R")
    assert talk.client("S").reason is Reason.PORT_REUSE
    assert talk.rip == first


# -- whom a forger cannot move -----------------------------------------------------------------


class Crowd(Bed):
    """Clients that are there, and sources that nobody has; few are remembered."""

    def __init__(self, six: bool, monkeypatch: pytest.MonkeyPatch, full_nat: bool = False) -> None:
        super().__init__(six)
        monkeypatch.setattr(bounds, "MAX_CLIENTS", 48)
        self.now = 0.0
        self.number = 0
        self.network = "2001:db8:9::" if six else "10.9."
        for group in self.switch.virtual_servers.values():
            group.persistence = Persistence(60.0)
            if full_nat:
                group.forward = "full_nat"

    def stranger(self) -> str:
        self.number += 1
        if ":" in self.network:
            return f"{self.network}{self.number:x}"
        return f"{self.network}{self.number >> 8}.{self.number & 255}"

    def wait(self, seconds: float) -> None:
        self.now += seconds
        while (due := self.switch.next_deadline()) is not None and due <= self.now:
            self.switch.handle_timers(self.now)

    def flood(self, count: int = 200, protocol: str = "tcp", answers: int = 0) -> None:
        for _ in range(count):
            source = (self.stranger(), 7)
            if protocol == "tcp":
                send(self.switch, tcp(source, self.vip, "S"), self.now)
            else:
                self.ask(source, max(1, answers), bool(answers))
        check_invariants(self.switch)

    def ask(self, client: Place, times: int = 1, answers: bool = True) -> str:
        """Ask by UDP; return the real server's address."""
        for _ in range(times):
            seen = send(self.switch, udp(client, self.vip, b"a question of some length"), self.now)
            rip = (seen.packet.dst, seen.packet[UDP].dport)
            near = (seen.packet.src, seen.packet[UDP].sport)
            if answers:
                send(self.switch, udp(rip, near, b"an answer of some length"), self.now)
        return str(seen.packet.dst)

    def open(self, host: str, proved: bool = True) -> tuple[Dialogue, str]:
        """Open a TCP connection; return it and the real server's address."""
        self.port += 1
        talk = Dialogue(self.switch, (host, 1000 + self.port), self.vip)
        talk.now = self.now
        seen = talk.client("S")
        if proved:
            self.go_on(talk, seen)
        return talk, str(seen.packet.dst)

    def go_on(self, talk: Dialogue, seen: Seen) -> None:
        """Complete the handshake of this SYN."""
        packet = seen.packet
        answer = tcp((packet.dst, 8080), (packet.src, packet.sport), "SA", seq=5000, ack=1001)
        send(self.switch, answer, self.now)
        talk.now = self.now
        talk.client("A", seq=1001, ack=5001)

    def end(self, talk: Dialogue) -> None:
        talk.now = self.now
        talk.client("RA", seq=1001, ack=5001)


@pytest.fixture(params=["IPv4", "IPv6", "IPv4 full NAT", "IPv6 full NAT"])
def crowd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    return Crowd("IPv6" in request.param, monkeypatch, "full" in request.param)


def test_forged_syns_move_no_client_that_is_there(crowd: Crowd) -> None:
    """More of them than are remembered, while the client has five live connections."""
    host = crowd.client[0]
    servers = {crowd.open(host)[1] for _ in range(5)}
    assert len(servers) == 1
    for _ in range(3):
        crowd.flood()
        assert {crowd.open(host, proved=False)[1]} == servers
        crowd.wait(0.5)


def test_a_client_is_remembered_while_a_connection_of_it_lives(crowd: Crowd) -> None:
    host = crowd.client[0]
    talk, server = crowd.open(host)
    other, _ = crowd.open(host)
    for _ in range(4):
        crowd.wait(400.0)
        for each in (talk, other):
            each.now = crowd.now
            each.client("A", b"alive", seq=1001, ack=5001)
        crowd.flood(60)
        assert crowd.open(host, proved=False)[1] == server
    crowd.end(other)
    crowd.wait(130.0)
    crowd.flood(60)
    assert crowd.open(host, proved=False)[1] == server, "one is left"
    crowd.end(talk)
    crowd.wait(130.0)
    check_invariants(crowd.switch)
    assert crowd.group.persistence is not None
    usable = crowd.group.usable_servers
    client = endpoint((host, 1)).ip.packed
    key = client + endpoint(crowd.vip).ip.packed + bytes(4)
    assert crowd.group.persistence.recall(key, usable, crowd.now) is None


def test_the_timeout_begins_with_the_latest_proof(crowd: Crowd) -> None:
    host = crowd.client[0]
    talk, server = crowd.open(host)
    crowd.end(talk)
    crowd.wait(50.0)
    talk, again = crowd.open(host)
    crowd.end(talk)
    crowd.wait(55.0)
    assert crowd.open(host, proved=False)[1] == server == again


def test_connections_opened_before_the_first_is_proved_go_together(crowd: Crowd) -> None:
    """As browsers open them: six SYNs at once, with a flood around them."""
    host = crowd.client[0]
    opened = [crowd.open(host, proved=False) for _ in range(3)]
    crowd.flood(5)
    opened += [crowd.open(host, proved=False) for _ in range(3)]
    assert len({server for _, server in opened}) == 1


def test_who_was_pushed_out_before_its_proof_is_remembered_with_it(crowd: Crowd) -> None:
    host = crowd.client[0]
    talk = Dialogue(crowd.switch, (host, 1), crowd.vip)
    seen = talk.client("S")
    crowd.flood()
    crowd.go_on(talk, seen)
    crowd.flood()
    assert {crowd.open(host)[1] for _ in range(3)} == {seen.packet.dst}
    check_invariants(crowd.switch)


@pytest.mark.parametrize("answers", [0, 1])
def test_forged_datagrams_move_no_client_that_converses(crowd: Crowd, answers: int) -> None:
    """By UDP it is two datagrams each way that count; noted at once, not only in time."""
    group = crowd.switch.virtual_servers["dns"]
    host = crowd.client[0]
    servers = {crowd.ask((host, port), 2) for port in range(5)}
    assert len(servers) == 1
    for _ in range(3):
        crowd.flood(100, "udp", answers)
        assert {crowd.ask((host, 99), answers=False)} == servers
        crowd.wait(70.0)
        crowd.ask((host, 1))
    assert group.persistence is not None
    assert len(group.persistence) <= 48


def test_a_question_with_an_answer_proves_nobody(crowd: Crowd) -> None:
    group = crowd.switch.virtual_servers["dns"]
    crowd.flood(60, "udp", answers=1)
    assert group.persistence is not None
    assert not any(template.proved for template in group.persistence)


def test_forged_conversations_push_out_nobody_who_has_connections(crowd: Crowd) -> None:
    """A forger who has every datagram answered twice: what is bounded is full of live ones."""
    host = crowd.client[0]
    server = crowd.ask((host, 1), 2)
    crowd.ask((host, 2), 2)
    crowd.flood(150, "udp", answers=2)
    assert crowd.ask((host, 3)) == server


def test_among_the_proved_who_was_away_longest_is_forgotten(crowd: Crowd) -> None:
    live, server = crowd.open(crowd.client[0])
    hosts = [crowd.stranger() for _ in range(60)]
    for host in hosts:
        talk, _ = crowd.open(host)
        crowd.end(talk)
        crowd.wait(0.25)
    crowd.wait(10.0)  # what is closed is forgotten by the table
    fresh = [crowd.stranger() for _ in range(20)]
    for host in fresh:
        talk, _ = crowd.open(host)
        crowd.end(talk)
        crowd.wait(0.25)
    check_invariants(crowd.switch)
    assert crowd.group.persistence is not None
    proved = {each.client for each in crowd.group.persistence if each.proved}
    assert len(proved) == 48 - 48 // 8
    assert {endpoint((host, 1)).ip.packed for host in (*fresh, crowd.client[0])} <= proved
    assert crowd.open(crowd.client[0])[1] == server
    assert live.client("A", seq=1001, ack=5001).reason is Reason.KNOWN_CONNECTION


def test_a_proved_client_moves_when_its_server_goes_and_stays_there(crowd: Crowd) -> None:
    host = crowd.client[0]
    _, first = crowd.open(host)
    crowd.switch.change(SetAdminState(crowd.server(first), AdminState.DRAIN), crowd.now)
    _, second = crowd.open(host, proved=False)
    assert second != first
    crowd.switch.change(SetAdminState(crowd.server(first), AdminState.READY), crowd.now)
    assert crowd.open(host, proved=False)[1] == first, "nobody has proved the other"
    crowd.switch.change(SetAdminState(crowd.server(first), AdminState.DRAIN), crowd.now)
    assert crowd.open(host)[1] == second
    crowd.switch.change(SetAdminState(crowd.server(first), AdminState.READY), crowd.now)
    crowd.flood()
    assert crowd.open(host)[1] == second
    check_invariants(crowd.switch)


def test_what_is_remembered_makes_no_cycles(crowd: Crowd) -> None:
    """A million clients come and go: nothing may wait for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        crowd.flood(100)
        crowd.flood(60, "udp", answers=2)
        crowd.end(crowd.open(crowd.client[0])[0])
        crowd.wait(1000.0)
        crowd.flood(1)
        crowd.wait(1000.0)
        assert len(crowd.switch.connections) == 0
        kept = [each for each in gc.get_objects() if isinstance(each, Template)]
        assert len(kept) <= 96
        assert all(each.path is None and each.connections == 0 for each in kept)
    finally:
        gc.enable()


# -- one packet --------------------------------------------------------------------------------


def one_packet_switch(six: bool) -> Switch:
    switch = make_switch(VIP6 if six else VIP, RIPS6 if six else RIPS[:2])
    switch.virtual_servers["dns"].one_packet = True
    return switch


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_each_datagram_is_scheduled_on_its_own(six: bool) -> None:
    switch = one_packet_switch(six)
    client, vip, rips = (CLIENT6, VIP6, RIPS6) if six else (CLIENT, VIP, RIPS[:2])
    question = udp(client, vip, b"one question after the other")
    seen = [send(switch, question, float(n)) for n in range(6)]
    assert [each.reason for each in seen] == [Reason.ONE_PACKET] * 6
    assert [each.packet.dst for each in seen] == [rips[n % 2][0] for n in range(6)]
    assert [each.data for each in seen[:2]] == [edited(question, destination=r) for r in rips]
    assert len(switch.connections) == 2, "one for each real server that may answer"
    check_invariants(switch)
    for rip in rips:
        answer = udp(rip, client, b"the answer of one of them")
        back = send(switch, answer, 7.0)
        assert back.reason is Reason.KNOWN_CONNECTION
        assert back.data == edited(answer, source=vip)
    # Exact accounts: three questions each, one answer.
    for connection in switch.connections:
        assert connection.traffic_to_server.packets == 3
        assert connection.traffic_to_client.packets == 1
    check_invariants(switch)


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_a_server_that_goes_down_gets_no_more_datagrams(six: bool) -> None:
    switch = one_packet_switch(six)
    client, vip, rips = (CLIENT6, VIP6, RIPS6) if six else (CLIENT, VIP, RIPS[:2])
    question = udp(client, vip, b"one question after the other")
    for n in range(4):
        send(switch, question, float(n))
    down = switch.virtual_servers["dns"].real_servers[0]
    switch.change(SetHealth(down, False, "timeout after 1.0 s"), 4.0)
    for n in range(4):
        assert send(switch, question, 5.0 + n).packet[UDP].dport == rips[1][1]
    late = send(switch, udp(rips[0], client, b"a late answer, not lost"), 9.0)
    assert late.packet.src == vip[0]
    while (due := switch.next_deadline()) is not None:
        switch.handle_timers(due)
    assert len(switch.connections) == 0
    check_invariants(switch)


# -- two virtual servers, one real server ------------------------------------------------------


def test_a_clash_of_datagrams_is_refused_until_the_other_is_over() -> None:
    """Two virtual servers share a real server; one client uses one port towards both."""
    switch = make_switch(rips=RIPS[:1], protocols=(17,))
    other = make_switch(("10.0.1.101", 80), RIPS[:1], protocols=(17,)).virtual_servers["dns"]
    other.name = "other"
    switch.add_virtual_server(other)
    first = udp(CLIENT, VIP, b"a question to the one VIP")
    second = udp(CLIENT, ("10.0.1.101", 80), b"a question to the other one")
    assert send(switch, first).reason is Reason.NEW_CONNECTION
    assert send(switch, second).reason is Reason.KEY_CLASH
    answer = udp(RIPS[0], CLIENT, b"an answer to the first question")
    assert send(switch, answer).packet.src == VIP[0], "no cross-talk"
    assert send(switch, udp((CLIENT[0], 7), ("10.0.1.101", 80))).action.value == "forward"
    check_invariants(switch)
    while (due := switch.next_deadline()) is not None and due <= 301:
        switch.handle_timers(due)
    assert send(switch, second, 301.0).reason is Reason.NEW_CONNECTION
    assert send(switch, answer, 302.0).packet.src == "10.0.1.101"


def test_a_clash_with_a_connection_in_time_wait_replaces_it() -> None:
    switch = make_switch(rips=RIPS[:1], protocols=(6,))
    other = make_switch(("10.0.1.101", 80), RIPS[:1], protocols=(6,)).virtual_servers["web"]
    other.name = "other"
    switch.add_virtual_server(other)
    first, second = Dialogue(switch), Dialogue(switch, vip=("10.0.1.101", 80))
    first.handshake()
    assert second.client("S").reason is Reason.KEY_CLASH
    first.server("FA")
    assert second.client("S").reason is Reason.KEY_CLASH, "half-closed is alive"
    first.client("FA")
    assert second.client("S").reason is Reason.NEW_CONNECTION
    assert second.server("SA").packet.src == "10.0.1.101"
    assert first.client("A").reason is Reason.UNKNOWN_TCP
    check_invariants(switch)
