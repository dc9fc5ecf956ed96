"""The topologies there are, as data.

The textbook picture, and the default: clients on one segment, real servers on another, the switch
as the router between them, and a virtual IP on the clients' side that no machine owns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from netns_lab.topology import (
    SWITCH,
    Host,
    IPAddress,
    Router,
    Segment,
    Service,
    Topology,
    VirtualServer,
    endpoint,
)

__all__ = [
    "DUAL_STACK",
    "ECHO_LAB",
    "NARROW",
    "ONE_ARM",
    "SWITCH",
    "TEXTBOOK",
    "TOPOLOGIES",
    "Host",
    "IPAddress",
    "Router",
    "Segment",
    "Service",
    "Topology",
    "VirtualServer",
    "endpoint",
]

HTTP = Service("http", 80)
HTTPS = Service("https", 443)
ECHO = (Service("tcp-echo", 7), Service("udp-echo", 7))  # RFC 862

_TCP: Literal["tcp"] = "tcp"
_UDP: Literal["udp"] = "udp"
_ONE_ARM_SERVICES = (("web", 80, _TCP), ("tcp-echo", 7, _TCP), ("udp-echo", 7, _UDP))
_NARROW_SERVICES = (
    ("near-web", 80, "s1", _TCP, 80),
    ("near-echo", 7, "s1", _UDP, 7),
    ("far-web", 8080, "s2", _TCP, 80),
    ("far-echo", 8007, "s2", _UDP, 7),
)

TEXTBOOK = Topology(
    name="textbook",
    summary="two clients, three real servers, the switch as the router between them",
    segments=(
        Segment("clients", ("10.0.1.1/24",)),
        Segment("servers", ("10.0.2.1/24",)),
    ),
    hosts=(
        Host("c1", "clients", ("10.0.1.11",)),
        Host("c2", "clients", ("10.0.1.12",)),
        Host("s1", "servers", ("10.0.2.11",), (HTTP, *ECHO)),
        Host("s2", "servers", ("10.0.2.12",), (HTTP, HTTPS, *ECHO)),
        Host("s3", "servers", ("10.0.2.13",), (HTTPS, *ECHO)),
    ),
    virtual_servers=(
        VirtualServer("web", "10.0.1.100", 80, ("s1", "s2")),
        VirtualServer("secure", "10.0.1.100", 443, ("s2", "s3")),
    ),
)

ECHO_LAB = replace(
    TEXTBOOK,
    name="echo",
    summary="the textbook lab with TCP and UDP echo (port 7) as virtual servers too",
    virtual_servers=(
        *TEXTBOOK.virtual_servers,
        VirtualServer("tcp-echo", "10.0.1.100", 7, ("s1", "s2", "s3")),
        VirtualServer("udp-echo", "10.0.1.100", 7, ("s1", "s2", "s3"), "udp"),
    ),
)

DUAL_STACK = Topology(
    name="dual-stack",
    summary="the textbook lab over IPv4 and IPv6",
    segments=(
        Segment("clients", ("10.0.1.1/24", "2001:db8:1::1/64")),
        Segment("servers", ("10.0.2.1/24", "2001:db8:2::1/64")),
    ),
    hosts=tuple(
        replace(
            host,
            addresses=(
                *host.addresses,
                f"2001:db8:{1 if host.segment == 'clients' else 2}::{host.addresses[0][-2:]}",
            ),
        )
        for host in TEXTBOOK.hosts
    ),
    virtual_servers=(
        *ECHO_LAB.virtual_servers,
        VirtualServer("web6", "2001:db8:1::100", 80, ("s1", "s2")),
        VirtualServer("secure6", "2001:db8:1::100", 443, ("s2", "s3")),
        VirtualServer("tcp-echo6", "2001:db8:1::100", 7, ("s1", "s2", "s3")),
        VirtualServer("udp-echo6", "2001:db8:1::100", 7, ("s1", "s2", "s3"), "udp"),
    ),
)

ONE_ARM = Topology(
    name="one-arm",
    summary="clients and real servers in one subnet: full NAT brings the answers back",
    segments=(Segment("lan", ("10.0.1.1/24", "2001:db8:1::1/64")),),
    hosts=(
        Host("c1", "lan", ("10.0.1.11", "2001:db8:1::11")),
        Host("c2", "lan", ("10.0.1.12", "2001:db8:1::12")),
        Host("s1", "lan", ("10.0.1.21", "2001:db8:1::21"), (HTTP, *ECHO)),
        Host("s2", "lan", ("10.0.1.22", "2001:db8:1::22"), (HTTP, *ECHO)),
        Host("s3", "lan", ("10.0.1.23", "2001:db8:1::23"), (HTTP, *ECHO)),
    ),
    virtual_servers=tuple(
        VirtualServer(
            name + suffix, vip, port, ("s1", "s2", "s3"), protocol, forward="full_nat", snat=snat
        )
        for suffix, vip, snat in (
            ("", "10.0.1.100", "10.0.1.200"),
            ("6", "2001:db8:1::100", "2001:db8:1::200"),
        )
        for name, port, protocol in _ONE_ARM_SERVICES
    ),
)

NARROW = Topology(
    name="narrow",
    summary="two links of MTU 1280, each between two routers: what path MTU discovery is for",
    segments=(
        Segment("clients", ("10.0.1.1/24", "2001:db8:1::1/64")),
        Segment("servers", ("10.0.2.1/24", "2001:db8:2::1/64")),
        Segment("narrow-c", ("10.0.3.1/24", "2001:db8:3::1/64"), 1280, gateway="r1"),
        Segment("clients-far", ("10.0.4.1/24", "2001:db8:4::1/64"), gateway="r2"),
        Segment("narrow-s", ("10.0.5.1/24", "2001:db8:5::1/64"), 1280, gateway="r3"),
        Segment("servers-far", ("10.0.6.1/24", "2001:db8:6::1/64"), gateway="r4"),
    ),
    routers=(
        Router("r1", "clients", ("10.0.1.2", "2001:db8:1::2")),
        Router("r2", "narrow-c", ("10.0.3.2", "2001:db8:3::2")),
        Router("r3", "servers", ("10.0.2.2", "2001:db8:2::2")),
        Router("r4", "narrow-s", ("10.0.5.2", "2001:db8:5::2")),
    ),
    hosts=(
        Host("c1", "clients", ("10.0.1.11", "2001:db8:1::11")),
        Host("c2", "clients-far", ("10.0.4.12", "2001:db8:4::12")),
        Host("s1", "servers", ("10.0.2.11", "2001:db8:2::11"), (HTTP, *ECHO)),
        Host("s2", "servers-far", ("10.0.6.12", "2001:db8:6::12"), (HTTP, *ECHO)),
    ),
    virtual_servers=tuple(
        VirtualServer(f"{kind}{suffix}", vip, port, (server,), protocol, real_port=real_port)
        for suffix, vip in (("", "10.0.1.100"), ("6", "2001:db8:1::100"))
        for kind, port, server, protocol, real_port in _NARROW_SERVICES
    ),
)

TOPOLOGIES: Mapping[str, Topology] = MappingProxyType(
    {each.name: each for each in (TEXTBOOK, ECHO_LAB, DUAL_STACK, ONE_ARM, NARROW)}
)
