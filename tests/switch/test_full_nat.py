"""Full NAT: clients whose answers would not come back by themselves."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP

from lb_switch.connections.tcp_state import State
from lb_switch.invariants import check_invariants
from lb_switch.packet.protocol import TCP as TCP_NUMBER
from lb_switch.packet.protocol import UDP as UDP_NUMBER
from lb_switch.scheduling.catalogue import make
from lb_switch.servers import RealServer, VirtualServer
from lb_switch.switch import Settings, Switch
from lb_switch.verdict import Action, Reason
from tests.support.dialogue import Seen, endpoint, send
from tests.support.packets import dissect, edited, tcp, udp

Place = tuple[str, int]


class OneArm:
    """Clients and real servers in one subnet, and a switch that translates both ends."""

    def __init__(self, six: bool, ports: tuple[int, int] = (1024, 65535), servers: int = 1) -> None:
        base = "2001:db8:5::" if six else "10.0.5."
        self.vip = (f"{base}100", 80)
        self.snat = f"{base}200"
        self.clients = [(f"{base}1{n}", 40000) for n in range(3)]
        self.rips = [(f"{base}2{n}", 8080) for n in range(servers)]
        self.now = 0.0
        self.switch = Switch(Settings(snat_ports=ports, unknown_tcp="schedule"))
        for protocol in (TCP_NUMBER, UDP_NUMBER):
            self.switch.add_virtual_server(
                VirtualServer(
                    f"service-{protocol}",
                    endpoint(self.vip),
                    protocol,
                    make("rr"),
                    [RealServer(endpoint(rip)) for rip in self.rips],
                    forward="full_nat",
                    snat=endpoint((self.snat, 1)).ip,
                )
            )

    def ask(self, client: Place, flags: str = "S", **fields: Any) -> Seen:
        return send(self.switch, tcp(client, self.vip, flags, **fields), self.now)

    def question(self, client: Place, payload: bytes = b"a question of some length") -> Seen:
        return send(self.switch, udp(client, self.vip, payload), self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        while (due := self.switch.next_deadline()) is not None and due <= self.now:
            self.switch.handle_timers(self.now)


@pytest.fixture(params=[False, True], ids=["IPv4", "IPv6"])
def six(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def near(seen: Seen) -> Place:
    """Return where a forwarded packet seems to come from."""
    packet = seen.packet
    return packet.src, (packet[TCP] if TCP in packet else packet[UDP]).sport


def test_both_ends_are_translated_there_and_back(six: bool) -> None:
    arm = OneArm(six)
    client, rip = arm.clients[0], arm.rips[0]
    for protocol, request in (
        ("tcp", tcp(client, arm.vip, "S", b"odd", seq=5)),
        ("udp", udp(client, arm.vip, b"a question of odd length")),
    ):
        seen = send(arm.switch, request)
        assert seen.reason is Reason.NEW_CONNECTION
        source = near(seen)
        assert source[0] == arm.snat
        assert seen.data == edited(request, source=source, destination=rip)
        if protocol == "tcp":
            reply = tcp(rip, source, "SA", seq=9, ack=6)
        else:
            reply = udp(rip, source, b"an answer of any length")
        back = send(arm.switch, reply)
        assert back.reason is Reason.KNOWN_CONNECTION
        assert back.data == edited(reply, source=arm.vip, destination=client)
    again = send(arm.switch, request)
    assert again.reason is Reason.KNOWN_CONNECTION
    assert near(again) == near(seen)
    check_invariants(arm.switch)


def test_two_clients_with_the_same_port_are_told_apart(six: bool) -> None:
    arm = OneArm(six)
    places = [near(arm.question(client)) for client in arm.clients]
    assert len(set(places)) == 3
    for client, place in zip(arm.clients, places, strict=True):
        answer = send(arm.switch, udp(arm.rips[0], place, b"an answer to one of them"))
        assert (answer.packet.dst, answer.packet[UDP].dport) == client


def test_protocols_and_real_servers_have_ports_of_their_own(six: bool) -> None:
    arm = OneArm(six, ports=(2000, 2000), servers=2)
    a, b, _ = arm.clients
    assert near(arm.question(a)) == near(arm.question(b)) == (arm.snat, 2000)
    assert near(arm.ask(a)) == near(arm.ask(b)) == (arm.snat, 2000)
    assert len(arm.switch.connections) == 4
    check_invariants(arm.switch)


def test_exhaustion_has_its_reason_and_ends_with_a_connection(six: bool) -> None:
    arm = OneArm(six, ports=(2000, 2001))
    a, b, c = arm.clients
    assert [near(arm.ask(client))[1] for client in (a, b)] == [2000, 2001]
    refused = arm.ask(c)
    assert (refused.action, refused.reason) == (Action.REPLY, Reason.PORT_POOL_EXHAUSTED)
    assert refused.answer[TCP].flags == "RA"
    assert arm.question(a).action is Action.FORWARD, "UDP has a pool of its own"
    assert arm.question(b).action is Action.FORWARD
    refused = arm.question(c)
    assert (refused.action, refused.reason) == (Action.REPLY, Reason.PORT_POOL_EXHAUSTED)
    assert len(arm.switch.connections) == 4
    arm.wait(61)  # the half-open ones are over
    assert near(arm.ask(c))[1] in {2000, 2001}
    check_invariants(arm.switch)


def test_a_port_is_free_again_however_its_connection_ends(six: bool) -> None:
    """Expired, replaced on the same ports, evicted, refused for a full table."""
    arm = OneArm(six, ports=(2000, 2001))
    a, b, _ = arm.clients
    for _ in range(5):
        source = near(arm.ask(a))
        send(arm.switch, tcp(arm.rips[0], source, "RA", ack=1))
        assert arm.ask(a).reason is Reason.PORT_REUSE
        assert len(arm.switch.connections) == 1
        arm.wait(61)
        assert len(arm.switch.connections) == 0
    small = OneArm(six, ports=(2000, 2001))
    small.switch.connections.max_connections = 1
    for n in range(20):
        assert small.ask(small.clients[n % 3]).action is Action.FORWARD, "the other is evicted"
    talk = small.ask(a)
    send(small.switch, tcp(small.rips[0], near(talk), "SA", seq=7, ack=1))
    small.ask(a, "A", ack=8)  # established, never evicted
    for _ in range(5):
        assert small.ask(b).reason is Reason.TABLE_FULL
    small.switch.connections.max_connections = 9
    assert talk.action is small.ask(b).action is Action.FORWARD
    check_invariants(small.switch)


def test_a_released_port_waits_behind_all_others(six: bool) -> None:
    """So that late packets of the old connection meet the new one as seldom as can be."""
    arm = OneArm(six, ports=(2000, 2002))
    ports = []
    for number in range(7):
        client = (arm.clients[0][0], 1000 + number)
        ports.append(near(arm.question(client))[1])
        arm.wait(301)
    assert ports == [2000, 2001, 2002] * 2 + [2000]


def test_ports_are_remembered_no_longer_than_the_real_server(six: bool) -> None:
    """A switch whose real servers come and go for months must not keep the ports of all."""
    arm = OneArm(six, servers=2)
    virtual_server = arm.switch.virtual_servers[f"service-{TCP_NUMBER}"]
    pools = []
    for real_server in list(virtual_server.real_servers):
        arm.ask(arm.clients[0])
        (connection,) = arm.switch.connections
        pool = connection.path.port_pool
        assert pool is not None
        pools.append(weakref.ref(pool))
        del pool
        del connection
        arm.wait(61)
        assert pools[-1]() is not None, "its order is kept while the real server may come back"
        virtual_server.remove(real_server)
        del real_server
        virtual_server.add(RealServer(endpoint((arm.rips[0][0], 9000 + len(pools)))))
    virtual_server.remove(virtual_server.real_servers[0])
    arm.ask(arm.clients[0])  # now the scheduler knows others, too
    assert [each() for each in pools] == [None, None]


def test_a_plain_clients_port_is_never_put_into_the_pool(six: bool) -> None:
    """A client at an address that later becomes a full NAT's source address."""
    arm = OneArm(six, ports=(2000, 2001))
    full = list(arm.switch.virtual_servers.values())
    for group in full:
        arm.switch.remove_virtual_server(group)
    plain = VirtualServer(
        "plain",
        endpoint((arm.vip[0], 81)),
        UDP_NUMBER,
        make("rr"),
        [RealServer(endpoint(arm.rips[0]))],
    )
    arm.switch.add_virtual_server(plain)
    seen = send(arm.switch, udp((arm.snat, 7777), (arm.vip[0], 81), b"from where snat will be"))
    assert seen.reason is Reason.NEW_CONNECTION
    for group in full:
        arm.switch.add_virtual_server(group)
    assert near(arm.question(arm.clients[0]))[1] == 2000
    arm.wait(301)
    assert len(arm.switch.connections) == 0
    ports = [near(arm.question((arm.clients[0][0], n)))[1] for n in (1, 2)]
    assert sorted(ports) == [2000, 2001]
    assert arm.question((arm.clients[0][0], 3)).reason is Reason.PORT_POOL_EXHAUSTED


def test_a_service_port_of_the_vip_may_be_a_source_port_too(six: bool) -> None:
    """The VIP as source address, and a real server that asks the VIP from its service port.

    Its packet would have the key of the answers to itself: refused, never mixed up.
    """
    rip: Place = ("2001:db8:2::11", 8080) if six else ("10.0.2.11", 8080)
    vip: Place = ("2001:db8:1::100", 2000) if six else ("10.0.1.100", 2000)
    switch = Switch(Settings(snat_ports=(2000, 2000)))
    group = VirtualServer(
        "odd",
        endpoint(vip),
        UDP_NUMBER,
        make("rr"),
        [RealServer(endpoint(rip))],
        forward="full_nat",
    )
    switch.add_virtual_server(group)
    seen = send(switch, udp(rip, vip, b"a question to oneself"))
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.KEY_CLASH)
    check_invariants(switch)
    client = (vip[0][:-1] + "7", 5)
    assert send(switch, udp(client, vip, b"and one of another")).reason is Reason.NEW_CONNECTION
    check_invariants(switch)


def test_a_conversation_through_the_short_road(six: bool) -> None:
    arm = OneArm(six)
    client = arm.clients[0]
    source = near(arm.ask(client, seq=10))
    send(arm.switch, tcp(arm.rips[0], source, "SA", seq=50, ack=11))
    arm.ask(client, "A", seq=11, ack=51)
    (connection,) = arm.switch.connections
    assert connection.state is State.ESTABLISHED
    data = tcp(client, arm.vip, "PA", b"a request", seq=11, ack=51)
    assert send(arm.switch, data).data == edited(data, source=source, destination=arm.rips[0])
    reply = tcp(arm.rips[0], source, "PA", b"a reply", seq=51, ack=20)
    seen = send(arm.switch, reply)
    assert seen.data == edited(reply, source=arm.vip, destination=client)
    assert dissect(seen.data)[TCP].dport == client[1]
