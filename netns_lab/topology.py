"""What a lab consists of, as data: segments, hosts, routers, services, virtual servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
ServiceKind = Literal["http", "https", "tcp-echo", "udp-echo"]

SWITCH = "switch"
"""The name of the switch among the hosts."""

USUAL_MTU = 1500

LONGEST_NAME = 12
"""Interface names hold 15 characters (IFNAMSIZ), and a host's port on the switch is `to-NAME`."""


@dataclass(frozen=True)
class Segment:
    """One Ethernet segment, and its gateway's addresses on it (with their prefix lengths).

    The gateway is the switch, or the router of that name.
    """

    name: str
    gateway_addresses: tuple[str, ...]
    mtu: int = USUAL_MTU
    gateway: str = SWITCH

    @property
    def interfaces(self) -> tuple[IPInterface, ...]:
        """The gateway's addresses, each of which also defines a subnet of this segment."""
        return tuple(ipaddress.ip_interface(text) for text in self.gateway_addresses)

    def interface_for(self, address: IPAddress) -> IPInterface | None:
        """The gateway's address in the subnet that holds `address`."""
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
class Router(Host):
    """A host that is the gateway of further segments; it offers no services."""


@dataclass(frozen=True)
class VirtualServer:
    """A VIP, a port, and the hosts that answer there (on `real_port`; None: the same port).

    The options are those of the switch's configuration, and mean the same.
    """

    name: str
    address: str
    port: int
    real_servers: tuple[str, ...]
    protocol: Literal["tcp", "udp"] = "tcp"
    check: Literal["http", "https", "tcp", "icmp", "none"] = "none"
    forward: Literal["nat", "full_nat"] = "nat"
    real_port: int | None = None
    snat: str = ""
    persistence_timeout: float = 0.0
    persistence_prefix: int = 0
    one_packet: bool = False

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
    routers: tuple[Router, ...] = ()
    """Each after the router that is the gateway of its own segment."""

    def __post_init__(self) -> None:
        machines = [machine.name for machine in self.machines]
        names = [segment.name for segment in self.segments] + machines
        for name in [*names, SWITCH]:
            if not 0 < len(name) <= LONGEST_NAME:
                raise ValueError(f"{self.name}: {name!r} is not 1 to {LONGEST_NAME} long")
        _refuse_twice(self.name, "name", [*names, SWITCH])
        _refuse_twice(self.name, "address", list(self._assigned()))
        _refuse_twice(self.name, "virtual server", [each.name for each in self.virtual_servers])
        self._check_gateways()
        for machine in self.machines:
            segment = self.segment(machine.segment)
            for ip in machine.ips:
                if segment.interface_for(ip) is None:
                    raise ValueError(f"{self.name}: {machine.name}: {ip} is not on {segment.name}")
        for virtual_server in self.virtual_servers:
            if virtual_server.ip in set(self._assigned()):
                raise ValueError(f"{self.name}: the VIP {virtual_server.ip} is a host's address")
            for name in virtual_server.real_servers:
                self.host(name).ip_of_family(virtual_server.ip.version)

    def _check_gateways(self) -> None:
        reached = {SWITCH}
        for router in self.routers:
            if self.segment(router.segment).gateway not in reached:
                raise ValueError(f"{self.name}: no router leads to {router.name} before it")
            reached.add(router.name)
        for segment in self.segments:
            if segment.gateway not in reached:
                raise ValueError(f"{self.name}: {segment.name} has no router {segment.gateway}")

    def _assigned(self) -> Iterator[IPAddress]:
        for segment in self.segments:
            yield from (interface.ip for interface in segment.interfaces)
        for machine in self.machines:
            yield from machine.ips

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

    def segments_of(self, gateway: str) -> tuple[Segment, ...]:
        """The segments whose gateway is the switch, or this router."""
        return tuple(segment for segment in self.segments if segment.gateway == gateway)

    def networks_behind(self, router: Router) -> tuple[IPNetwork, ...]:
        """The subnets of every segment that is reached through this router."""
        networks: list[IPNetwork] = []
        for segment in self.segments_of(router.name):
            networks += [interface.network for interface in segment.interfaces]
            for next_router in self.routers:
                if next_router.segment == segment.name:
                    networks += self.networks_behind(next_router)
        return tuple(networks)

    @property
    def machines(self) -> tuple[Host, ...]:
        """Routers and hosts: every machine but the switch."""
        return (*self.routers, *self.hosts)

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


Health = Literal["http", "tcp", "icmp", "none"]
"""How a lab's real servers are probed; http: HTTP, or HTTPS, where the service speaks it."""


def with_health(topology: Topology, health: Health) -> Topology:
    """Return the topology with health checks of a kind, as far as each service can be asked so.

    A service of TCP that speaks no HTTP is connected to, one of UDP is pinged.
    """
    return replace(
        topology,
        virtual_servers=tuple(
            replace(each, check=_check(topology, each, health)) for each in topology.virtual_servers
        ),
    )


def _check(
    topology: Topology, virtual_server: VirtualServer, health: Health
) -> Literal["http", "https", "tcp", "icmp", "none"]:
    if health in {"none", "icmp"}:
        return health
    if virtual_server.protocol == "udp":
        return "icmp"
    if health == "http":
        port = virtual_server.real_port or virtual_server.port
        kinds = {
            service.kind
            for name in virtual_server.real_servers
            for service in topology.host(name).services
            if service.port == port
        }
        if kinds == {"http"}:
            return "http"
        if kinds == {"https"}:
            return "https"
    return "tcp"
