"""Full NAT: clients whose answers would not come back by themselves."""

from __future__ import annotations

import itertools
import weakref
from collections import Counter
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP

from lb_switch.engine.changes import RemoveVirtualServer
from lb_switch.engine.connections import source_ports
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import kind_of
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.protocol import TCP as TCP_NUMBER
from lb_switch.engine.packet.protocol import UDP as UDP_NUMBER
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import Seen, endpoint, send
from tests.support.packets import dissect, edited, tcp, udp

Place = tuple[str, int]


class OneArm:
    """Clients and real servers in one subnet, and a switch that translates both ends."""

    def __init__(
        self,
        six: bool,
        ports: tuple[int, int] = (1024, 65535),
        servers: int = 1,
        snats: int = 1,
        secret: bytes = b"",
    ) -> None:
        base = "2001:db8:5::" if six else "10.0.5."
        self.vip = (f"{base}100", 80)
        self.snats = [f"{base}{200 + n}" for n in range(snats)]
        self.snat = self.snats[0]
        self.strangers = itertools.count(1)
        self.network = "2001:db8:6::" if six else "10.0.6."
        self.clients = [(f"{base}1{n}", 40000) for n in range(3)]
        self.rips = [(f"{base}2{n}", 8080) for n in range(servers)]
        self.now = 0.0
        self.switch = Switch(Settings(snat_ports=ports, unknown_tcp="schedule", port_secret=secret))
        for protocol in (TCP_NUMBER, UDP_NUMBER):
            self.switch.add_virtual_server(
                VirtualServer(
                    f"service-{protocol}",
                    endpoint(self.vip),
                    protocol,
                    make("rr"),
                    [RealServer(endpoint(rip)) for rip in self.rips],
                    forward="full_nat",
                    snat=[endpoint((each, 1)).ip for each in self.snats],
                )
            )

    def client(self) -> Place:
        """Return a place where nobody was before."""
        number = next(self.strangers)
        return f"{self.network}{1 + number % 99}", 1000 + number

    def establish(self, client: Place) -> Place:
        """Open a TCP connection, both go on; return where the real server sees it come from."""
        source = near(self.ask(client, seq=1))
        send(self.switch, tcp(self.rips[0], source, "SA", seq=5, ack=2), self.now)
        self.ask(client, "A", seq=2, ack=6)
        self.ask(client, "PA", payload=b"hello", seq=2, ack=6)
        send(self.switch, tcp(self.rips[0], source, "A", seq=6, ack=7), self.now)
        return source

    def answer(self, source: Place) -> None:
        """Let the real server answer a datagram that came from there."""
        send(self.switch, udp(self.rips[0], source, b"an answer of some length"), self.now)

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
    assert {arm.establish(client)[1] for client in (a, b)} == {2000, 2001}
    refused = arm.ask(c)
    assert (refused.action, refused.reason) == (Action.REPLY, Reason.PORT_POOL_EXHAUSTED)
    assert refused.answer[TCP].flags == "RA"
    assert arm.question(a).action is Action.FORWARD, "UDP has a pool of its own"
    assert arm.question(b).action is Action.FORWARD
    assert len(arm.switch.connections) == 4
    arm.wait(901)
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
    for _ in range(2):
        small.ask(a, "A", ack=8)
    # Both have gone on after the handshake: it is never evicted.
    send(small.switch, tcp(small.rips[0], near(talk), "A", seq=8, ack=1))
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
    assert sorted(ports[:3]) == [2000, 2001, 2002]
    assert ports == ports[:3] * 2 + ports[:1]


def test_who_comes_back_into_the_group_finds_its_ports_in_their_order(six: bool) -> None:
    """Those released last still wait behind all others."""
    arm = OneArm(six, ports=(2000, 2003))
    virtual_server = arm.switch.virtual_servers[f"service-{UDP_NUMBER}"]
    (real_server,) = virtual_server.real_servers
    ports = []
    for _ in range(4):
        ports.append(near(arm.question(arm.client()))[1])
        arm.wait(301)
        virtual_server.remove(real_server)
        virtual_server.add(real_server)
    assert sorted(ports) == [2000, 2001, 2002, 2003]


# -- who gives a port ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["half-open", "closed", "unanswered", "answered", "conversing"])
def test_what_has_proved_nothing_gives_its_port(six: bool, kind: str) -> None:
    """A flood that fills the pool, while the table is nearly empty."""
    arm = OneArm(six, ports=(2000, 2039))
    live = [arm.client() for _ in range(10)]
    places = {arm.establish(client): client for client in live}
    for _ in range(200):
        arm.now += 0.01
        client = arm.client()
        if kind in {"half-open", "closed"}:
            source = near(arm.ask(client))
            if kind == "closed":
                send(arm.switch, tcp(arm.rips[0], source, "RA", ack=1), arm.now)
        for _ in range({"unanswered": 1, "answered": 1, "conversing": 2}.get(kind, 0)):
            source = near(arm.question(client))
            if kind != "unanswered":
                arm.answer(source)
        assert source not in places or kind not in {"half-open", "closed"}
    check_invariants(arm.switch)
    assert arm.question(arm.client()).action is Action.FORWARD
    place = arm.establish(arm.client())
    assert place not in places
    for place, client in places.items():
        assert arm.ask(client, "A", seq=2, ack=6).reason is Reason.KNOWN_CONNECTION
        back = send(arm.switch, tcp(arm.rips[0], place, "A", seq=6, ack=2), arm.now)
        assert back.packet.dst == client[0]
    assert arm.switch.counters[Reason.PORT_POOL_EXHAUSTED] == 0
    check_invariants(arm.switch)


def test_properly_closed_connections_give_their_ports(six: bool) -> None:
    """Behind any NAT the ports of TIME_WAIT serve again; the real server closes first."""
    arm = OneArm(six, ports=(2000, 2019))
    for _ in range(100):
        client = arm.client()
        source = arm.establish(client)
        send(arm.switch, tcp(arm.rips[0], source, "FA", seq=6, ack=2), arm.now)
        arm.ask(client, "FA", seq=2, ack=7)
        send(arm.switch, tcp(arm.rips[0], source, "A", seq=7, ack=3), arm.now)
        arm.now += 0.001
    assert {each.state for each in arm.switch.connections} == {State.TIME_WAIT}
    assert len(arm.switch.connections) == 20
    assert arm.switch.counters[Reason.NEW_CONNECTION] == 100
    check_invariants(arm.switch)


def test_a_port_goes_from_whoever_was_silent_longest(six: bool) -> None:
    """A handshake that is under way is not what gives its port, where closed ones have some."""
    arm = OneArm(six, ports=(2000, 2007))
    for _ in range(7):
        source = near(arm.ask(arm.client()))
        send(arm.switch, tcp(arm.rips[0], source, "RA", ack=1), arm.now)
    arm.now += 1.0
    opening = arm.client()
    source = near(arm.ask(opening))
    for _ in range(7):
        arm.now += 0.01
        arm.ask(arm.client())
    send(arm.switch, tcp(arm.rips[0], source, "SA", seq=5, ack=1), arm.now)
    assert arm.ask(opening, "A", seq=1, ack=6).reason is Reason.KNOWN_CONNECTION


def test_a_search_for_a_port_is_bounded(six: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = OneArm(six, ports=(2000, 2099))
    for _ in range(100):
        arm.establish(arm.client())
    looks = 0

    def counted(connection: Connection) -> QueueKind:
        nonlocal looks
        looks += 1
        return kind_of(connection)

    monkeypatch.setattr(source_ports, "kind_of", counted)
    assert arm.ask(arm.client()).reason is Reason.PORT_POOL_EXHAUSTED
    assert looks == source_ports.MOST


# -- which port ----------------------------------------------------------------------------


def ports_of(arm: OneArm, count: int) -> list[int]:
    return [near(arm.question(arm.client()))[1] for _ in range(count)]


def test_ports_are_in_no_order_that_can_be_guessed(six: bool) -> None:
    """RFC 6056; the same secret gives the same ones, so that a replay tells the same."""
    one, same, other = (OneArm(six, secret=secret) for secret in (b"secret", b"secret", b"another"))
    ports = ports_of(one, 400)
    assert len(set(ports)) == 400
    assert ports_of(same, 400) == ports
    assert not set(zip(ports, ports_of(other, 400), strict=True)) & {(p, p) for p in ports[:4]}
    steps = [(b - a) % 64512 for a, b in itertools.pairwise(ports)]
    assert Counter(steps).most_common(1)[0][1] <= 4
    assert sum(1024 <= port < 1024 + 32256 for port in ports) in range(150, 250)


def test_each_real_server_has_an_order_of_its_own(six: bool) -> None:
    arm = OneArm(six, servers=2, secret=b"secret")
    ports = ports_of(arm, 40)
    assert ports[::2] != ports[1::2]


# -- several source addresses --------------------------------------------------------------


def test_several_source_addresses_have_ports_of_their_own(six: bool) -> None:
    """So one real server can hold more connections than there are ports."""
    arm = OneArm(six, ports=(2000, 2009), snats=3)
    for protocol in ("tcp", "udp"):
        places = set()
        for _ in range(30):
            client = arm.client()
            if protocol == "tcp":
                place = arm.establish(client)
                reply = tcp(arm.rips[0], place, "A", seq=6, ack=2)
            else:
                place = near(arm.question(client))
                reply = udp(arm.rips[0], place, b"an answer of some length")
            places.add(place)
            assert send(arm.switch, reply, arm.now).packet.dst == client[0]
        assert len(places) == 30
        assert Counter(place[0] for place in places) == dict.fromkeys(arm.snats, 10)
    assert arm.ask(arm.client()).reason is Reason.PORT_POOL_EXHAUSTED
    assert arm.question(arm.client()).action is Action.FORWARD, "an unanswered one gives way"
    check_invariants(arm.switch)


def test_a_client_keeps_its_source_address(six: bool) -> None:
    """RFC 4787, REQ-2: paired, as long as there are ports."""
    arm = OneArm(six, snats=4)
    hosts = {client[0] for client in (arm.client() for _ in range(40))}
    chosen = {
        host: {near(arm.question((host, port)))[0] for port in range(1000, 1010)} for host in hosts
    }
    assert all(len(each) == 1 for each in chosen.values())
    assert len({next(iter(each)) for each in chosen.values()}) > 1


def test_every_source_address_is_the_switchs_own(six: bool) -> None:
    arm = OneArm(six, snats=3)
    groups = list(arm.switch.virtual_servers.values())
    for snat in arm.snats:
        seen = send(arm.switch, tcp(arm.rips[0], (snat, 5555), "S"))
        assert seen.reason is Reason.NO_VIRTUAL_SERVER
        forged = send(arm.switch, tcp((snat, 5555), arm.vip, "S"))
        assert forged.reason is Reason.FORGED_SOURCE
    for group in groups:
        arm.switch.change(RemoveVirtualServer(group), 0.0)
    for snat in arm.snats:
        seen = send(arm.switch, tcp(arm.rips[0], (snat, 5555), "S"))
        assert seen.reason is Reason.NOT_FOR_THE_SWITCH


# -- memory that runs out ------------------------------------------------------------------


PLACES = [
    ("lb_switch.engine.bookkeeping.NatPath", "__init__"),
    ("lb_switch.engine.bookkeeping.Connection", "__init__"),
    ("lb_switch.engine.connections.table.ConnectionTable", "insert"),
    ("lb_switch.engine.connections.queues.Queues", "join"),
    ("lb_switch.engine.connections.timeouts.TimerWheel", "arm"),
    ("lb_switch.engine.connections.timeouts.Bucket", "__init__"),
    ("lb_switch.engine.nat.port_pool.PortPool", "allocate"),
]


@pytest.mark.parametrize(("owner", "method"), PLACES, ids=[".".join(each) for each in PLACES])
def test_memory_that_runs_out_leaks_no_port(
    six: bool, owner: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = OneArm(six, ports=(2000, 2001))

    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    for _ in range(5):
        for request in (arm.ask, arm.question):
            with monkeypatch.context() as patch:
                patch.setattr(f"{owner}.{method}", fails)
                with pytest.raises(MemoryError):
                    request(arm.client())
            assert len(arm.switch.connections) == arm.switch.connections.half_open == 0
            check_invariants(arm.switch)
        arm.now += 1.0
    for _ in range(2):
        arm.establish(arm.client())
        arm.question(arm.client())
    assert len(arm.switch.connections) == 4
    check_invariants(arm.switch)


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
        arm.switch.change(RemoveVirtualServer(group), 0.0)
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
    assert near(arm.question(arm.clients[0]))[1] in {2000, 2001}
    arm.wait(301)
    assert len(arm.switch.connections) == 0
    ports = [near(arm.question((arm.clients[0][0], n)))[1] for n in (1, 2)]
    assert sorted(ports) == [2000, 2001]
    check_invariants(arm.switch)


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
