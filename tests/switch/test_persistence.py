"""Persistence stands before the scheduler; one-packet scheduling asks it every time."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP

from lb_switch.invariants import check_invariants
from lb_switch.scheduling import persistence as bounds
from lb_switch.scheduling.persistence import Persistence
from lb_switch.servers import AdminState, RealServer
from lb_switch.switch import Switch
from lb_switch.verdict import Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
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
        bed.switch.set_health(server, False, "timeout", 1.0)
    elif how == "weight 0":
        bed.switch.set_weight(server, 0, 1.0)
    elif how == "removed":
        bed.group.remove(server)
    else:
        bed.switch.set_admin_state(server, AdminState(how), 1.0)
    second = bed.connect(now=2.0)
    assert second != first
    if how == "down":
        bed.switch.set_health(server, True, "connect", 3.0)
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
    switch.set_health(down, False, "timeout after 1.0 s", 4.0)
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
