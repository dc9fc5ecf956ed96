"""What the network namespace looks like, read with `ip -j`."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.host.run import run

IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

PROTOCOL = "176"
"""Every route, rule and neighbour entry of the switch carries this origin (`ip … proto`, an
unassigned number of rtnetlink(7)'s rtm_protocol), so that a view can leave the switch's own out."""


@dataclass(frozen=True)
class HostInterface:
    """A network interface with its MTU in bytes and its addresses."""

    name: str
    mtu: int
    addresses: tuple[IPInterface, ...] = ()


@dataclass(frozen=True)
class Route:
    """A unicast route of table main.  `devices`: more than one for a multipath route.

    `learnt`: from a router advertisement (RFC 4861).  `source`: the address that the host speaks
    from on this way; the route goes with it.
    """

    prefix: IPNetwork
    devices: tuple[str, ...]
    mtu: int = 0
    metric: int = 0
    learnt: bool = False
    source: IPAddress | None = field(default=None, compare=False)


@dataclass(frozen=True)
class HostView:
    """Addresses, routes and proxy neighbours, without those that the switch itself made."""

    interfaces: tuple[HostInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    proxies: frozenset[tuple[IPAddress, str]] = frozenset()
    tables: frozenset[str] = frozenset()
    """Routing tables (names or numbers, as `ip` prints them) that others have routes in."""

    def interface(self, name: str) -> HostInterface | None:
        """Return the interface of this name, or None."""
        return next((i for i in self.interfaces if i.name == name), None)

    def without(self, name: str) -> HostView:
        """Return the view without an interface (the switch's own device)."""
        return replace(self, interfaces=tuple(i for i in self.interfaces if i.name != name))

    def is_local(self, ip: IPAddress) -> bool:
        """Whether the address is one of this namespace's own."""
        return any(ip == a.ip for i in self.interfaces for a in i.addresses)

    @property
    def learnt_by(self) -> tuple[str, ...]:
        """The interfaces by which routes were learnt from router advertisements."""
        return tuple(sorted({name for each in self.routes if each.learnt for name in each.devices}))

    @property
    def own_addresses(self) -> frozenset[bytes]:
        """The addresses of this namespace, packed; loopback's are nobody's on a wire anyway."""
        return frozenset(
            address.ip.packed
            for interface in self.interfaces
            for address in interface.addresses
            if not address.ip.is_loopback
        )

    def connected(self, ip: IPAddress) -> tuple[str, ...]:
        """Return the interfaces in one of whose subnets the address lies."""
        return tuple(
            i.name for i in self.interfaces if any(ip in address.network for address in i.addresses)
        )

    def route_to(self, ip: IPAddress) -> Route | None:
        """Return the route by longest prefix, then lowest metric; None if there is none."""
        matching = [r for r in self.routes if ip.version == r.prefix.version and ip in r.prefix]
        return max(matching, key=lambda r: (r.prefix.prefixlen, -r.metric), default=None)


def read() -> HostView:
    """Read the current network namespace.  Raises HostError if `ip` fails."""
    routes = [
        (version, record)
        for version in (4, 6)
        for record in _ip(f"-{version}", "route", "show", "table", "all")
    ]
    return parse(_ip("addr"), routes, _ip("neigh", "show", "proxy"))


def _ip(*arguments: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(run(("ip", "-j", *arguments)) or "[]")
    return records


def parse(
    addresses: Iterable[Mapping[str, Any]],
    routes: Iterable[tuple[int, Mapping[str, Any]]],
    proxies: Iterable[Mapping[str, Any]],
) -> HostView:
    """Build the view from the records of `ip -j`; each route comes with its IP version."""
    tables: set[str] = set()
    main: list[Route] = []
    for version, record in routes:
        if not record or record.get("protocol") == PROTOCOL:
            continue
        table = str(record.get("table", "main"))
        tables.add(table)
        if table == "main" and record.get("type", "unicast") == "unicast":
            main.append(_route(version, record))
    return HostView(
        tuple(_interface(record) for record in addresses if record),
        tuple(main),
        frozenset(
            (ipaddress.ip_address(record["dst"]), record["dev"])
            for record in proxies
            if record and record.get("protocol") != PROTOCOL
        ),
        frozenset(tables),
    )


def _interface(record: Mapping[str, Any]) -> HostInterface:
    return HostInterface(
        record["ifname"],
        record["mtu"],
        tuple(
            ipaddress.ip_interface(f"{info['local']}/{info['prefixlen']}")
            for info in record.get("addr_info", ())
            if "local" in info
        ),
    )


def _route(version: int, record: Mapping[str, Any]) -> Route:
    destination = record["dst"]
    if destination == "default":
        destination = "0.0.0.0/0" if version == 4 else "::/0"
    hops = record.get("nexthops", (record,))
    metrics: Sequence[Mapping[str, int]] = record.get("metrics") or ({},)
    return Route(
        ipaddress.ip_network(destination),
        tuple(hop["dev"] for hop in hops if "dev" in hop),
        metrics[0].get("mtu", 0),
        record.get("metric", 0),
        record.get("protocol") == "ra",
        ipaddress.ip_address(record["prefsrc"]) if "prefsrc" in record else None,
    )
