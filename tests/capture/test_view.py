"""What `ip -j` prints becomes the view that plans are made from."""

from __future__ import annotations

import ipaddress
from typing import Any

from lb_switch.host.view import HostInterface, HostView, Route, parse

ADDRESSES: list[dict[str, Any]] = [
    {"ifname": "lo", "mtu": 65536, "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
    {
        "ifname": "eth0",
        "mtu": 1500,
        "addr_info": [
            {"family": "inet", "local": "10.0.1.1", "prefixlen": 24},
            {"family": "inet6", "local": "fd00::1", "prefixlen": 64},
        ],
    },
    {},
]
ROUTES: list[tuple[int, dict[str, Any]]] = [
    (4, {"dst": "default", "gateway": "10.0.1.254", "dev": "eth0", "metric": 100}),
    (4, {"dst": "10.0.1.0/24", "dev": "eth0", "protocol": "kernel", "metrics": [{"mtu": 1400}]}),
    (4, {"dst": "10.0.1.100", "dev": "lbtun", "protocol": "176"}),
    (4, {"type": "local", "dst": "10.0.1.1", "dev": "eth0", "table": "local"}),
    (4, {"type": "blackhole", "dst": "192.0.2.0/24"}),
    (4, {"dst": "default", "dev": "lbtun", "table": "7450", "protocol": "176"}),
    (4, {"dst": "default", "dev": "eth0", "table": "99"}),
    (4, {"dst": "10.9.0.0/16", "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]}),
    (6, {"dst": "default", "dev": "eth0"}),
]
PROXIES: list[dict[str, Any]] = [
    {"dst": "10.0.1.7", "dev": "eth0", "proxy": None},
    {"dst": "10.0.1.100", "dev": "eth0", "proxy": None, "protocol": "176"},
]


def view() -> HostView:
    return parse(ADDRESSES, ROUTES, PROXIES)


def test_interfaces_with_their_addresses() -> None:
    assert view().interfaces == (
        HostInterface("lo", 65536, (ipaddress.ip_interface("127.0.0.1/8"),)),
        HostInterface(
            "eth0",
            1500,
            (ipaddress.ip_interface("10.0.1.1/24"), ipaddress.ip_interface("fd00::1/64")),
        ),
    )


def test_unicast_routes_of_table_main_without_the_switchs_own() -> None:
    network = ipaddress.ip_network
    assert view().routes == (
        Route(network("0.0.0.0/0"), ("eth0",), 0, 100),
        Route(network("10.0.1.0/24"), ("eth0",), 1400, 0),
        Route(network("10.9.0.0/16"), ("eth0", "eth1"), 0, 0),
        Route(network("::/0"), ("eth0",), 0, 0),
    )


def test_the_switchs_own_table_and_neighbours_do_not_count_as_taken() -> None:
    assert view().tables == {"main", "local", "99"}
    assert view().proxies == {(ipaddress.ip_address("10.0.1.7"), "eth0")}


def test_the_longest_prefix_wins_then_the_lowest_metric() -> None:
    network, ip = ipaddress.ip_network, ipaddress.ip_address
    near, far = (
        Route(network("10.0.0.0/8"), ("a",), 0, 5),
        Route(network("10.0.0.0/8"), ("b",), 0, 9),
    )
    narrow = Route(network("10.1.0.0/16"), ("c",), 0, 50)
    host = HostView(routes=(far, near, narrow))
    assert host.route_to(ip("10.1.2.3")) == narrow
    assert host.route_to(ip("10.2.2.3")) == near
    assert host.route_to(ip("11.0.0.1")) is None
    assert host.route_to(ip("fd00::1")) is None


def test_local_and_connected_addresses() -> None:
    ip = ipaddress.ip_address
    assert view().is_local(ip("10.0.1.1"))
    assert not view().is_local(ip("10.0.1.2"))
    assert view().connected(ip("10.0.1.2")) == ("eth0",)
    assert view().connected(ip("fd00::77")) == ("eth0",)
    assert view().connected(ip("10.0.2.2")) == ()
    assert view().without("eth0").connected(ip("10.0.1.2")) == ()
