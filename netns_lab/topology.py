"""What a lab consists of, as data: segments, hosts, services, virtual servers.

The textbook picture, and the default: clients on one segment, real servers on another, the switch
as the router between them, and a virtual IP on the clients' side that no machine owns.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
ServiceKind = Literal["http", "https", "tcp-echo", "udp-echo"]

SWITCH = "switch"
"""The name of the switch among the hosts."""

LONGEST_NAME = 12
"""Interface names hold 15 characters (IFNAMSIZ), and a host's port on the switch is `to-NAME`."""


@dataclass(frozen=True)
class Segment:
    """One Ethernet segment and the switch's addresses on it (with their prefix lengths)."""

    name: str
    switch_addresses: tuple[str, ...]
    mtu: int = 1500

    @property
    def interfaces(self) -> tuple[IPInterface, ...]:
        """The switch's addresses, each of which also defines a subnet of this segment."""
        return tuple(ipaddress.ip_interface(text) for text in self.switch_addresses)

    def interface_for(self, address: IPAddress) -> IPInterface | None:
        """The switch's address in the subnet that holds `address`: that host's gateway."""
        return next((each for each in self.interfaces if address in each.network), None)


@dataclass(frozen=True)
class Service:
    """What a host offers on one port of all its addresses."""

    kind: ServiceKind
    port: int


@dataclass(frozen=True)
class Host:
    """A machine on one segment.  A host without services is a client."""

    name: str
    segment: str
    addresses: tuple[str, ...]
    services: tuple[Service, ...] = ()

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """The addresses, parsed, in order."""
        return tuple(ipaddress.ip_address(text) for text in self.addresses)

    def ip_of_family(self, version: int) -> IPAddress:
        """The first address of IP version 4 or 6.  Raises LookupError if there is none."""
        for ip in self.ips:
            if ip.version == version:
                return ip
        raise LookupError(f"{self.name} has no IPv{version} address")


@dataclass(frozen=True)
class VirtualServer:
    """A VIP, a port, and the hosts that answer there (on `real_port`; None: the same port)."""

    name: str
    address: str
    port: int
    real_servers: tuple[str, ...]
    protocol: Literal["tcp", "udp"] = "tcp"
    check: Literal["http", "tcp", "icmp", "none"] = "none"
    forward: Literal["nat", "full_nat"] = "nat"
    real_port: int | None = None

    @property
    def ip(self) -> IPAddress:
        """The VIP."""
        return ipaddress.ip_address(self.address)

    @property
    def endpoint(self) -> str:
        """`10.0.1.100:80`, or `[2001:db8:1::100]:80`."""
        return endpoint(self.ip, self.port)


@dataclass(frozen=True)
class Topology:
    """A whole lab.  Raises ValueError, in one line, for data that cannot be built.

    offload: leave checksum and segmentation offload on.  Bulk transfers want it; without it every
    packet on every wire carries its real checksum, so that tcpdump can judge it.
    """

    name: str
    summary: str
    segments: tuple[Segment, ...]
    hosts: tuple[Host, ...]
    virtual_servers: tuple[VirtualServer, ...]
    offload: bool = False

    def __post_init__(self) -> None:
        names = [segment.name for segment in self.segments] + [host.name for host in self.hosts]
        for name in [*names, SWITCH]:
            if not 0 < len(name) <= LONGEST_NAME:
                raise ValueError(f"{self.name}: {name!r} is not 1 to {LONGEST_NAME} long")
        _refuse_twice(self.name, "name", [*names, SWITCH])
        _refuse_twice(self.name, "address", list(self._assigned()))
        _refuse_twice(self.name, "virtual server", [each.name for each in self.virtual_servers])
        for host in self.hosts:
            segment = self.segment(host.segment)
            for ip in host.ips:
                if segment.interface_for(ip) is None:
                    raise ValueError(f"{self.name}: {host.name}: {ip} is not on {segment.name}")
        for virtual_server in self.virtual_servers:
            if virtual_server.ip in set(self._assigned()):
                raise ValueError(f"{self.name}: the VIP {virtual_server.ip} is a host's address")
            for name in virtual_server.real_servers:
                self.host(name).ip_of_family(virtual_server.ip.version)

    def _assigned(self) -> Iterator[IPAddress]:
        for segment in self.segments:
            yield from (interface.ip for interface in segment.interfaces)
        for host in self.hosts:
            yield from host.ips

    def host(self, name: str) -> Host:
        """The host of that name.  Raises LookupError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LookupError(f"{name!r} is none of {', '.join(host.name for host in self.hosts)}")

    def segment(self, name: str) -> Segment:
        """The segment of that name.  Raises LookupError."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise LookupError(f"{name!r} is none of {', '.join(each.name for each in self.segments)}")

    @property
    def clients(self) -> tuple[Host, ...]:
        """The hosts that offer nothing."""
        return tuple(host for host in self.hosts if not host.services)

    @property
    def servers(self) -> tuple[Host, ...]:
        """The hosts that offer a service."""
        return tuple(host for host in self.hosts if host.services)

    @property
    def vips(self) -> tuple[IPAddress, ...]:
        """Every virtual IP once, in order."""
        return tuple(dict.fromkeys(each.ip for each in self.virtual_servers))


def endpoint(ip: IPAddress, port: int) -> str:
    """`ADDRESS:PORT`, with brackets around an IPv6 address (RFC 3986, section 3.2.2)."""
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _refuse_twice(topology: str, what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{topology}: the {what} {value} is given twice")
        seen.add(value)


HTTP = Service("http", 80)
HTTPS = Service("https", 443)
ECHO = (Service("tcp-echo", 7), Service("udp-echo", 7))  # RFC 862

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

TOPOLOGIES: Mapping[str, Topology] = MappingProxyType(
    {each.name: each for each in (TEXTBOOK, ECHO_LAB, DUAL_STACK)}
)
