"""What is legal, but hardly what was meant on this host."""

from __future__ import annotations

import ipaddress

from lb_switch.capture.host.view import HostView, Interface
from lb_switch.cli.advice import empty_groups, shared_subnets
from lb_switch.packet.protocol import TCP
from tests.support.dialogue import make_switch

CLIENTS = Interface("eth0", 1500, (ipaddress.ip_interface("10.0.1.1/24"),))
SERVERS = Interface("eth1", 1500, (ipaddress.ip_interface("10.0.2.1/24"),))


def test_two_subnets_are_as_it_should_be() -> None:
    servers = make_switch(protocols=(TCP,)).virtual_servers.values()
    assert shared_subnets(servers, HostView((CLIENTS, SERVERS))) == []


def test_a_vip_among_its_real_servers() -> None:
    servers = make_switch(vip=("10.0.2.100", 80), protocols=(TCP,)).virtual_servers.values()
    assert shared_subnets(servers, HostView((CLIENTS, SERVERS))) == [
        'web: clients in the real servers\' own subnet (eth1) need forward = "full_nat"'
    ]


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
