"""What is legal, but hardly what was meant on this host."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from lb_switch.config.load import validate
from lb_switch.daemon.advice import (
    empty_groups,
    instead_of_own,
    public_hash_key,
    unserved_clients,
    where_nat_fails,
)
from lb_switch.engine.packet.protocol import TCP
from lb_switch.host.view import HostInterface, HostView, Route
from tests.support.dialogue import make_switch

CLIENTS = HostInterface("eth0", 1500, (ipaddress.ip_interface("10.0.1.1/24"),))
SERVERS = HostInterface("eth1", 1500, (ipaddress.ip_interface("10.0.2.1/24"),))


ROUTES = (
    Route(ipaddress.ip_network("10.0.1.0/24"), ("eth0",)),
    Route(ipaddress.ip_network("10.0.2.0/24"), ("eth1",)),
)
HOST = HostView((CLIENTS, SERVERS), ROUTES)


def host_with(prefix: str, device: str) -> HostView:
    return replace(HOST, routes=(*ROUTES, Route(ipaddress.ip_network(prefix), (device,))))


def test_two_subnets_are_as_it_should_be() -> None:
    servers = make_switch(protocols=(TCP,)).virtual_servers.values()
    assert where_nat_fails(servers, HOST) == []
    assert unserved_clients(servers, HOST) == "10.0.2.0/24"


def test_a_vip_among_its_real_servers() -> None:
    web = make_switch(vip=("10.0.2.100", 80), protocols=(TCP,)).virtual_servers["web"]
    assert where_nat_fails([web], HOST) == [
        (
            "web: clients in the real servers' own subnet (10.0.2.0/24) get the answers past the"
            ' switch: set forward = "full_nat"'
        )
    ]
    web.forward = "full_nat"
    assert where_nat_fails([web], HOST) == []
    assert unserved_clients([web], HOST) == ""


def test_two_subnets_on_one_interface_are_two_subnets() -> None:
    both = HostInterface("eth0", 1500, CLIENTS.addresses + SERVERS.addresses)
    routes = tuple(replace(route, devices=("eth0",)) for route in ROUTES)
    servers = make_switch(protocols=(TCP,)).virtual_servers.values()
    assert where_nat_fails(servers, HostView((both,), routes)) == []


@pytest.mark.parametrize(
    ("host", "way"),
    [
        (host_with("0.0.0.0/0", "eth0"), "by the default route"),
        (host_with("192.0.2.0/24", "eth0"), "by eth0, as clients are"),
    ],
)
def test_a_real_server_out_where_the_clients_are(host: HostView, way: str) -> None:
    rips = (("10.0.2.11", 80), ("192.0.2.1", 80))
    web = make_switch(rips=rips, protocols=(TCP,)).virtual_servers["web"]
    assert where_nat_fails([web], host) == [
        (
            f"web: real server 192.0.2.1:80 is reached {way}: its answers will hardly come back to"
            ' the switch: set forward = "full_nat"'
        )
    ]
    web.forward = "full_nat"
    assert where_nat_fails([web], host) == []


def test_a_real_server_behind_a_router_of_the_servers_side() -> None:
    rips = (("192.0.2.1", 80),)
    servers = make_switch(rips=rips, protocols=(TCP,)).virtual_servers.values()
    assert where_nat_fails(servers, host_with("192.0.2.0/24", "eth1")) == []


def test_a_group_that_nobody_can_be_sent_to() -> None:
    switch = make_switch(protocols=(TCP,))
    web = switch.virtual_servers["web"]
    assert empty_groups([web]) == []
    for real_server in web.real_servers:
        real_server.weight = 0
    web.refresh()
    assert empty_groups([web]) == [
        "web: no real server with a weight above 0: connections are rejected"
    ]


def test_hashing_with_a_public_key() -> None:
    group = {"name": "a", "address": "10.0.1.100:80", "scheduler": "mh"}
    other = {"name": "b", "address": "10.0.1.100:81", "scheduler": "sh"}
    plain = {"name": "c", "address": "10.0.1.100:82"}
    (line,) = public_hash_key(validate({"virtual_server": [group, plain, other]}))
    assert line.startswith("a, b: without a secret hash_key a stranger can choose")
    assert public_hash_key(validate({"virtual_server": [plain]})) == []
    secret = {"hash_key": "x"}
    assert public_hash_key(validate({"switch": secret, "virtual_server": [group]})) == []


def own(*texts: str, loopback: tuple[str, ...] = (), source: str = "") -> HostView:
    lo = HostInterface("lo", 65536, tuple(map(ipaddress.ip_interface, loopback)))
    eth0 = HostInterface("eth0", 1500, tuple(map(ipaddress.ip_interface, texts)))
    by = ipaddress.ip_address(source) if source else None
    return HostView((lo, eth0), (Route(ipaddress.ip_network("0.0.0.0/0"), ("eth0",), source=by),))


@pytest.mark.parametrize(
    ("sentence", "vip", "host", "fix"),
    [
        (
            "the subnet's only address",
            "10.0.1.1",
            own("10.0.1.1/24"),
            "give the VIP a free address of 10.0.1.0/24 that no machine has",
        ),
        (
            "its first, with which the others go",
            "10.0.1.1",
            own("10.0.1.1/24", "10.0.1.100/24"),
            "give the VIP a free address of 10.0.1.0/24 that no machine has",
        ),
        (
            "a later one",
            "10.0.1.100",
            own("10.0.1.1/24", "10.0.1.100/24"),
            "ip addr del 10.0.1.100/24 dev eth0: the switch answers for it",
        ),
        (
            "a later one that the default route speaks from",
            "10.0.1.100",
            own("10.0.1.1/24", "10.0.1.100/24", source="10.0.1.100"),
            "give the VIP a free address of 10.0.1.0/24 that no machine has",
        ),
        (
            "an address alone on the loopback",
            "10.0.1.100",
            own("10.0.1.1/24", loopback=("127.0.0.1/8", "10.0.1.100/32")),
            "ip addr del 10.0.1.100/32 dev lo: the switch answers for it",
        ),
        (
            "the only address, as clouds give it",
            "10.0.1.100",
            own("10.0.1.100/32", "fe80::1/64", loopback=("127.0.0.1/8",)),
            "give the VIP an address that no machine has",
        ),
        (
            "the same beside a container's bridge",
            "10.0.1.100",
            own("10.0.1.100/32", "172.17.0.1/16", source="10.0.1.100"),
            "give the VIP an address that no machine has",
        ),
        (
            "IPv6, the only one",
            "2001:db8::1",
            own("2001:db8::1/64", "fe80::1/64"),
            "give the VIP a free address of 2001:db8::/64 that no machine has",
        ),
        (
            "IPv6, where any other one keeps the route",
            "2001:db8::1",
            own("2001:db8::1/64", "2001:db8::2/64"),
            "ip addr del 2001:db8::1/64 dev eth0: the switch answers for it",
        ),
    ],
)
def test_an_own_address_as_vip_is_given_up_only_where_no_route_goes_with_it(
    sentence: str, vip: str, host: HostView, fix: str
) -> None:
    found = instead_of_own(ipaddress.ip_address(vip), host)
    assert found.split(" (")[0] == fix, sentence
    assert ("do not remove" in found) == fix.startswith("give")
