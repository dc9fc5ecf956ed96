"""Where the chosen real server cannot have a connection, another usable one gets it."""

from __future__ import annotations

import pytest

from lb_switch.engine.changes import SetAdminState
from lb_switch.engine.events import Cause, Event, PacketEvent
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.readable_road import OTHERS
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.scheduling.said import said
from tests.support.dialogue import Seen, endpoint, send
from tests.support.packets import tcp, udp

PROTOCOLS = pytest.mark.parametrize("protocol", [TCP, UDP], ids=["TCP", "UDP"])
FAMILIES = pytest.mark.parametrize("net", ["10.0.{}.", "2001:db8:{}::"], ids=["IPv4", "IPv6"])


class Shared:
    """Two virtual servers that share their real servers: one client's port clashes there."""

    def __init__(self, net: str, protocol: int, servers: int = 3, scheduler: str = "rr") -> None:
        self.net, self.protocol = net, protocol
        self.switch = Switch(Settings(max_connections=1000))
        self.groups = []
        for number in (0, 1):
            group = VirtualServer(
                f"web{number}",
                endpoint((f"{net.format(1)}{100 + number}", 80)),
                protocol,
                make(scheduler),
                [RealServer(endpoint((f"{net.format(2)}{n + 1}", 8080))) for n in range(servers)],
            )
            self.groups.append(group)
            self.switch.add_virtual_server(group)

    def open(self, group: int, port: int = 40000) -> Seen:
        client = (f"{self.net.format(1)}11", port)
        vip = (f"{self.net.format(1)}{100 + group}", 80)
        data = tcp(client, vip, "S") if self.protocol == TCP else udp(client, vip, b"question")
        return send(self.switch, data)


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sh", "mh"])
def test_a_clash_goes_to_the_next_that_is_free(net: str, protocol: int, scheduler: str) -> None:
    shared = Shared(net, protocol, scheduler=scheduler)
    taken = shared.open(0).packet.dst
    for each in shared.groups[1].real_servers:  # until the same one is its turn there, too
        if str(each.endpoint.ip) != taken:
            shared.switch.change(SetAdminState(each, AdminState.DRAIN), 0.0)
    free = shared.groups[1].real_servers[-1]
    if str(free.endpoint.ip) == taken:
        free = shared.groups[1].real_servers[0]
    assert shared.open(1).reason is Reason.KEY_CLASH, "no other is usable"
    shared.switch.change(SetAdminState(free, AdminState.READY), 0.0)
    for each in shared.groups[1].usable_servers:
        each.active = 0 if str(each.endpoint.ip) == taken else 5  # lc would choose it
    seen = shared.open(1)
    for each in shared.groups[1].usable_servers:
        each.active -= 0 if str(each.endpoint.ip) == taken else 5
    assert seen.reason is Reason.NEW_CONNECTION
    assert seen.packet.dst == str(free.endpoint.ip)
    check_invariants(shared.switch)


@FAMILIES
@PROTOCOLS
def test_as_many_as_there_are_servers_then_no_more(net: str, protocol: int) -> None:
    shared = Shared(net, protocol)
    groups = [
        VirtualServer(
            f"more{n}",
            endpoint((f"{net.format(1)}{102 + n}", 80)),
            protocol,
            make("rr"),
            [RealServer(each.endpoint) for each in shared.groups[0].real_servers],
        )
        for n in range(2)
    ]
    for group in groups:
        shared.switch.add_virtual_server(group)
    assert len({shared.open(number).packet.dst for number in range(3)}) == 3
    refused = shared.open(3)
    assert (refused.action, refused.reason) == (Action.REPLY, Reason.KEY_CLASH)
    check_invariants(shared.switch)


@FAMILIES
def test_full_nat_without_ports_towards_one_server(net: str) -> None:
    """TCP, whose proved connections keep their ports.  (UDP's give them to newcomers.)"""
    switch = Switch(Settings(snat_ports=(5000, 5001)))
    rips = [(f"{net.format(2)}{n}", 8080) for n in (1, 2)]
    vip, snat = (f"{net.format(1)}100", 80), f"{net.format(1)}200"
    group = VirtualServer(
        "web",
        endpoint(vip),
        TCP,
        make("rr"),
        [RealServer(endpoint(rips[0]))],
        forward="full_nat",
        snat=endpoint((snat, 1)).ip,
    )
    switch.add_virtual_server(group)

    def open_from(port: int) -> Seen:
        client = (f"{net.format(1)}11", port)
        seen = send(switch, tcp(client, vip, "S"))
        if seen.action is Action.FORWARD:
            place = (seen.packet.dst, 8080)
            peer = (seen.packet.src, seen.packet["TCP"].sport)
            send(switch, tcp(place, peer, "SA", seq=9, ack=1))
            for _ in range(2):
                send(switch, tcp(client, vip, "A", seq=1, ack=10))
                send(switch, tcp(place, peer, "A", seq=10, ack=1))
        return seen

    assert [open_from(port).packet.dst for port in (1, 2)] == [rips[0][0]] * 2
    assert open_from(3).reason is Reason.PORT_POOL_EXHAUSTED
    group.add(RealServer(endpoint(rips[1])))
    assert {open_from(port).packet.dst for port in (4, 5)} == {rips[1][0]}
    check_invariants(switch)


def test_who_is_bound_by_persistence_is_not_sent_elsewhere() -> None:
    shared = Shared("10.0.{}.", TCP)
    shared.groups[1].persistence = Persistence(50.0)
    first = shared.open(1, 1)
    taken = first.packet.dst
    while shared.open(0).packet.dst != taken:
        (connection,) = [
            each for each in shared.switch.connections if each.original_key[-4:-2] == b"\x9c\x40"
        ]
        shared.switch._books.forget(connection, 0.0, Cause.TIMEOUT)
    assert shared.open(1).reason is Reason.KEY_CLASH
    assert shared.open(1, 40001).packet.dst == taken


def test_the_search_is_bounded() -> None:
    shared = Shared("10.0.{}.", TCP, servers=OTHERS + 3)
    group = shared.groups[0]
    assert len(group.usable_after(group.usable_servers[4], OTHERS)) == OTHERS
    first = group.usable_after(group.usable_servers[OTHERS], OTHERS)[0]
    assert first is group.usable_servers[OTHERS + 1]
    assert group.usable_servers[4] not in group.usable_after(group.usable_servers[4], 1000)


def test_why_it_is_another_is_told() -> None:
    shared = Shared("10.0.{}.", TCP)
    told: list[Event] = []
    shared.switch.listen(told.append)
    taken = shared.open(0).packet.dst
    chosen = shared.open(1).packet.dst
    assert chosen != taken
    (event,) = [each for each in told if isinstance(each, PacketEvent)][1:]
    assert event.choice is not None
    assert str(event.choice.real_server.endpoint.ip) == chosen
    assert event.choice.explanation is not None
    assert said(event.choice.explanation) == (
        f"{chosen}:8080: next after {taken}:8080, towards which the client's port is in use"
    )
