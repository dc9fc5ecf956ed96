"""The topologies are what they say, and data that cannot be built is refused."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netns_lab.topologies import (
    DUAL_STACK,
    NARROW,
    ONE_ARM,
    TEXTBOOK,
    TOPOLOGIES,
    Host,
    Router,
    Segment,
    Topology,
    VirtualServer,
    endpoint,
)


def test_the_textbook_picture() -> None:
    assert {host.name: host.addresses for host in TEXTBOOK.hosts} == {
        "c1": ("10.0.1.11",),
        "c2": ("10.0.1.12",),
        "s1": ("10.0.2.11",),
        "s2": ("10.0.2.12",),
        "s3": ("10.0.2.13",),
    }
    assert [(each.endpoint, each.real_servers) for each in TEXTBOOK.virtual_servers] == [
        ("10.0.1.100:80", ("s1", "s2")),
        ("10.0.1.100:443", ("s2", "s3")),
    ]
    assert [host.name for host in TEXTBOOK.clients] == ["c1", "c2"]
    assert [host.name for host in TEXTBOOK.servers] == ["s1", "s2", "s3"]
    assert not TEXTBOOK.offload


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_a_real_server_offers_what_its_virtual_server_promises(topology: Topology) -> None:
    for virtual_server in topology.virtual_servers:
        for name in virtual_server.real_servers:
            host = topology.host(name)
            offered = {service.port for service in host.services}
            assert (virtual_server.real_port or virtual_server.port) in offered
            assert host.ip_of_family(virtual_server.ip.version) in host.ips


def test_dual_stack_gives_every_host_an_address_of_either_family() -> None:
    for host in DUAL_STACK.hosts:
        assert sorted(ip.version for ip in host.ips) == [4, 6]
    assert DUAL_STACK.host("s1").ip_of_family(6) == ip_address("2001:db8:2::11")


def test_a_router_comes_after_the_one_that_leads_to_it() -> None:
    with pytest.raises(ValueError, match="no router leads to r2 before it"):
        replace(NARROW, routers=NARROW.routers[::-1][2:] + NARROW.routers[2:])


def test_what_lies_behind_a_router() -> None:
    r1, r2, *_ = NARROW.routers
    far = [ip_network("10.0.4.0/24"), ip_network("2001:db8:4::/64")]
    narrow = [ip_network("10.0.3.0/24"), ip_network("2001:db8:3::/64")]
    assert list(NARROW.networks_behind(r1)) == narrow + far
    assert list(NARROW.networks_behind(r2)) == far


def test_every_way_to_a_far_host_leads_over_a_narrow_link() -> None:
    """Its own link is wider: only a router can tell a sender of the narrow one."""
    for router in NARROW.routers[::2]:
        (link,) = NARROW.segments_of(router.name)
        assert link.mtu == 1280
    assert {NARROW.segment(host.segment).mtu for host in NARROW.hosts} == {1500}


def test_one_arm_has_one_subnet_and_full_nat_only() -> None:
    assert len(ONE_ARM.segments) == 1
    assert {each.forward for each in ONE_ARM.virtual_servers} == {"full_nat"}


def test_endpoints_put_brackets_around_ipv6_only() -> None:
    assert endpoint(ip_address("10.0.1.100"), 80) == "10.0.1.100:80"
    assert endpoint(ip_address("2001:db8::1"), 80) == "[2001:db8::1]:80"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hosts": (*TEXTBOOK.hosts, Host("c1", "clients", ("10.0.1.13",)))}, "name c1"),
        ({"hosts": (*TEXTBOOK.hosts, Host("c3", "clients", ("10.0.1.11",)))}, "10.0.1.11"),
        ({"hosts": (*TEXTBOOK.hosts, Host("c3", "clients", ("10.0.1.1",)))}, "10.0.1.1"),
        ({"hosts": (*TEXTBOOK.hosts, Host("c3", "clients", ("10.0.9.1",)))}, "not on clients"),
        ({"hosts": (*TEXTBOOK.hosts, Host("switch", "clients", ("10.0.1.13",)))}, "name switch"),
        ({"hosts": (*TEXTBOOK.hosts, Host("a" * 13, "clients", ()))}, "not 1 to 12 long"),
        ({"segments": (*TEXTBOOK.segments, Segment("c1", ()))}, "name c1"),
        ({"segments": (*TEXTBOOK.segments, Segment("x", (), gateway="r"))}, "has no router r"),
        ({"routers": (Router("s1", "clients", ()),)}, "name s1"),
        ({"routers": (Router("r", "clients", ("10.0.2.99",)),)}, "not on clients"),
        ({"virtual_servers": (VirtualServer("v", "10.0.2.11", 80, ("s1",)),)}, "host's address"),
        ({"virtual_servers": (TEXTBOOK.virtual_servers[0],) * 2}, "virtual server web"),
    ],
)
def test_data_that_cannot_be_built_is_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(TEXTBOOK, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "virtual_server",
    [
        VirtualServer("v", "10.0.1.100", 80, ("nobody",)),
        VirtualServer("v", "2001:db8::100", 80, ("s1",)),
    ],
    ids=["unknown host", "no address of that family"],
)
def test_a_group_must_be_reachable(virtual_server: VirtualServer) -> None:
    with pytest.raises(LookupError):
        replace(TEXTBOOK, virtual_servers=(virtual_server,))
