"""What a configuration means on this host, where it is legal but hardly what was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from lb_switch.engine.packet.protocol import PROTOCOL_NAMES

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.engine.packet.endpoint import IPAddress
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.host.forwarding import Passing
    from lb_switch.host.view import HostView, IPNetwork


FULL_NAT = 'set forward = "full_nat"'
"""What helps wherever answers would not come back through the switch."""


def where_nat_fails(virtual_servers: Iterable[VirtualServer], host: HostView) -> list[str]:
    """Return a line for each virtual server whose answers may go past the switch.

    Plain NAT leaves the client's address as it is, so a real server answers to the client: from an
    address that the client never called, unless the switch is on the way.  What can be seen from
    here: the VIP (and so, clients) in a real server's own subnet; a real server out where the
    clients are, behind another router.
    """
    lines = []
    for virtual_server in virtual_servers:
        if virtual_server.forward != "nat":
            continue
        vip = virtual_server.endpoint.ip
        shared = set(_subnets(host, vip)) & _server_subnets(virtual_server, host)
        if shared:
            lines.append(
                f"{virtual_server.name}: clients in the real servers' own subnet ({_texts(shared)})"
                f" get the answers past the switch: {FULL_NAT}"
            )
        for real_server in virtual_server.real_servers:
            way = _clients_way(host, vip, real_server.endpoint.ip)
            if way:
                lines.append(
                    f"{virtual_server.name}: real server {real_server.endpoint} is reached {way}:"
                    f" its answers will hardly come back to the switch: {FULL_NAT}"
                )
    return lines


def unserved_clients(virtual_servers: Iterable[VirtualServer], host: HostView) -> str:
    """Return the subnets whose machines plain NAT cannot serve as clients; "" if none is seen.

    The real servers are among these machines: one that calls a VIP may be sent to its neighbour.
    """
    plain = [each for each in virtual_servers if each.forward == "nat"]
    return _texts(set().union(*(_server_subnets(each, host) for each in plain)))


def _server_subnets(virtual_server: VirtualServer, host: HostView) -> set[IPNetwork]:
    return {
        subnet
        for real_server in virtual_server.real_servers
        for subnet in _subnets(host, real_server.endpoint.ip)
    }


def _subnets(host: HostView, ip: IPAddress) -> list[IPNetwork]:
    """Return the connected subnets in which an address lies."""
    networks = (address.network for each in host.interfaces for address in each.addresses)
    return [network for network in networks if ip in network]


def _clients_way(host: HostView, vip: IPAddress, rip: IPAddress) -> str:
    """Say how a real server is reached, if that is how clients are; "" otherwise."""
    route = host.route_to(rip)
    if route is None or host.connected(rip):
        return ""
    if route.prefix.prefixlen == 0:
        return "by the default route"
    common = set(route.devices) & set(host.connected(vip))
    return f"by {', '.join(sorted(common))}, as clients are" if common else ""


def _texts(networks: Iterable[IPNetwork]) -> str:
    return ", ".join(sorted(map(str, networks)))


def public_hash_key(config: Config) -> list[str]:
    """Return a line if strangers can find out what the hashing schedulers choose."""
    hashing = [each.name for each in config.virtual_server if each.scheduler in {"sh", "mh"}]
    if config.switch.hash_key or not hashing:
        return []
    return [
        (
            f"{', '.join(hashing)}: without a secret hash_key a stranger can choose addresses"
            " and ports that all meet one real server: set one in [switch] (`lb-switch check`"
            " proposes one)"
        )
    ]


def own_vips(virtual_servers: Iterable[VirtualServer], host: HostView) -> list[str]:
    """Return a line for each VIP that is an address of this machine (`take_own_addresses`)."""
    vips = dict.fromkeys(each.endpoint.ip for each in virtual_servers)
    return [
        (
            f"{vip} is an address of this machine: all that comes for it goes to the switch, and"
            " what no virtual server serves is refused, running sessions (ssh) among it"
        )
        for vip in vips
        if host.is_local(vip)
    ]


def instead_of_own(vip: IPAddress, host: HostView) -> str:
    """Return what to do about a VIP that is an address of this machine, and cuts nobody off.

    An address may go if all routes stay without it: one that stands alone, beside others of its
    machine, or after another one of its subnet, and from which no route speaks.  Else routes go
    along, and with them the gateway; and whoever has this address as a gateway loses that.
    """
    for interface in host.interfaces:
        for position, address in enumerate(interface.addresses):
            if address.ip != vip:
                continue
            # The kernel makes an IPv4 subnet's first address its primary: without it all go.
            others = interface.addresses[: position if vip.version == 4 else None]
            subnet = address.network
            single = subnet.prefixlen == subnet.max_prefixlen
            spare = any(other.ip != vip and other.network == subnet for other in others)
            if (spare or (single and _has_another(vip, host))) and not any(
                route.source == vip for route in host.routes
            ):
                return f"ip addr del {address} dev {interface.name}: the switch answers for it"
            choice = "an address" if single else f"a free address of {subnet}"
            return (
                f"give the VIP {choice} that no machine has (do not remove {vip} from"
                f" {interface.name}: routes would go with it, that to the gateway perhaps)"
            )
    return "give the VIP an address that no machine has"


def _has_another(ip: IPAddress, host: HostView) -> bool:
    """Whether the host can speak from another address of that version."""
    return any(
        each.ip.version == ip.version
        and each.ip != ip
        and not (each.ip.is_loopback or each.ip.is_link_local)
        for interface in host.interfaces
        for each in interface.addresses
    )


def without_effect(rules: Iterable[str]) -> list[str]:
    """Return a line for each firewall rule that nfqueue's packets do not meet as they are named."""
    return [
        (
            f"the rule '{rule}' names a VIP, but with nfqueue packets to it carry the real"
            " server's address by then: name that one, filter in table raw, or use capture tun"
        )
        for rule in rules
    ]


def dropped_by_forward(
    virtual_servers: Collection[VirtualServer], host: HostView, capture: str, device: str = "lbtun"
) -> list[str]:
    """Return a line for each IP version whose forwarded packets the host's firewall drops."""
    from lb_switch.host import forwarding

    tun = device if capture == "tun" else ""
    lines = []
    for version in sorted({each.endpoint.ip.version for each in virtual_servers}):
        chains = forwarding.read(version)
        for packet in _forwarded(virtual_servers, version, host, tun):
            rule = forwarding.what_drops(chains, packet)
            if rule:
                lines.append(_about_forward(version, rule, packet, tun))
                break
    return lines


def _forwarded(
    virtual_servers: Iterable[VirtualServer], version: int, host: HostView, tun: str
) -> Iterator[Passing]:
    """Yield how packets of each real server pass chain FORWARD.  `tun`: the device, or ""."""
    from lb_switch.host import forwarding

    for virtual_server in virtual_servers:
        vip, protocol = virtual_server.endpoint.ip, PROTOCOL_NAMES[virtual_server.protocol]
        if vip.version != version:
            continue
        clients = next(iter(host.connected(vip)), None)
        for real_server in virtual_server.real_servers:
            rip = real_server.endpoint.ip
            route = host.route_to(rip)
            servers = route.devices[0] if route and route.devices else None
            yield from forwarding.ways(tun, clients, servers, vip, rip, protocol)


def _about_forward(version: int, rule: str, packet: Passing, tun: str) -> str:
    from lb_switch.host.plan import IPTABLES

    program = IPTABLES[version]
    way = f"from {packet.incoming or 'any'} to {packet.outgoing or 'any'}"
    place = tun or packet.destination or packet.source
    sides = "io" if tun else "sd"
    fix = " && ".join(f"{program} -I FORWARD -{side} {place} -j ACCEPT" for side in sides)
    return (
        f"the host's firewall drops what is forwarded {way} ({program} {rule}): no client gets"
        f" through: {fix}"
    )


def empty_groups(virtual_servers: Iterable[VirtualServer]) -> list[str]:
    """Return a line for each virtual server that has no usable real server."""
    return [
        f"{virtual_server.name}: no real server with a weight above 0: connections are rejected"
        for virtual_server in virtual_servers
        if not virtual_server.usable_servers
    ]
