"""Which changes the host needs so that packets reach the switch.  Pure: values in, steps out.

The order matters twice: nothing may reach the switch before everything behind it stands (so proxy
neighbours come last), and undoing runs backwards.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.host.error import HostError
from lb_switch.host.services import Service
from lb_switch.host.steps import FilterChain, HostChange, Step, Sysctl
from lb_switch.host.view import PROTOCOL, HostInterface, HostView, IPNetwork

CHAIN_IN = "LB-SWITCH-PRE"
CHAIN_OUT = "LB-SWITCH-POST"
OWN_CHAINS = frozenset({CHAIN_IN, CHAIN_OUT})

OWN_MARK = 0x4C42
"""Firewall mark of what the switch itself sends ("LB"): never captured again."""

FOREIGN_MARK = 0x4C46
"""Firewall mark of what comes from a real server's address by an interface behind which that real
server is not ("LF"): forged, or another way than packets to it take.  Never captured."""

RULE_PRIORITY = 50
"""First of four consecutive priorities of policy rules: before any the host may have for the real
servers, after table local."""

MAX_EXACT_RULES = 16
"""More real servers than this behind one interface are matched by their subnets: every policy rule
costs each forwarded packet some 40 ns."""

DEVICE_MTU = 65535
"""The MTU that matters is the routes'; the device's own must never be the smallest."""


@dataclass(frozen=True)
class Family:
    """What IPv4 and IPv6 call the same things."""

    version: int
    iptables: str
    icmp: int
    """Protocol number: `ip rule` knows names only where /etc/protocols is installed."""
    icmp_errors: tuple[str, ...]
    """Rule conditions that match ICMP errors."""
    fragments: tuple[str, ...]
    """Rule conditions that match fragments.  The first one tells the engine whether the later ones,
    which have no ports, are any business of its own: they must not come without it."""
    redirect: str
    """Rule condition that matches redirects."""
    last_hop: str
    """Rule condition that matches packets that the host would not forward."""
    forwarding: str


FAMILIES = (
    Family(
        4,
        "iptables",
        1,
        tuple(f"-p icmp -m icmp --icmp-type {kind}" for kind in (3, 11, 12)),
        # Offset 0 and more to come; then any other offset.
        ('-m u32 --u32 "4&0x3fff=0x2000"', "-f"),
        "-p icmp -m icmp --icmp-type 5",
        "-m ttl --ttl-lt 2",
        "net/ipv4/ip_forward",
    ),
    Family(
        6,
        "ip6tables",
        58,
        tuple(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind}" for kind in (1, 2, 3, 4)),
        ("-m frag --fragid 0:4294967295",),
        "-p ipv6-icmp -m icmp6 --icmpv6-type 137",
        "-m hl --hl-lt 2",
        "net/ipv6/conf/all/forwarding",
    ),
)

IPTABLES = {family.version: family.iptables for family in FAMILIES}
"""The program of each IP version."""


def plan_nfqueue(
    services: Sequence[Service], host: HostView, queue: int, *, own_addresses: bool = False
) -> tuple[Step, ...]:
    """Return the steps for capture by NFQUEUE number `queue`.  Raises HostError.

    `own_addresses`: a VIP may be an address of this machine.
    """
    check(services, host)
    for service in services:
        if host.is_local(service.vip.ip) and not own_addresses:
            raise HostError(
                f"{service.vip.ip} is an address of this machine, and all that comes for it would"
                " go to the switch: remove it (ip addr del), or set take_own_addresses = true"
            )
    steps: list[Step] = []
    # With full NAT, replies are captured by the address they go to.
    by_source = [service for service in services if not service.snats]
    for family in _families(services):
        captured, reals = _captured(services, family), _real_servers(by_source, family)
        steps += _forwarding(family, host)
        if family.version == 4 and len(by_source) < len(services):
            # Rewritten on the way in, packets have a source that is routed to lo.
            steps += _loose_reverse_path(host)
        to_queue = f"-j NFQUEUE --queue-num {queue}"
        replies = sorted(
            {
                (PROTOCOL_NAMES[service.protocol], real.ip, real.port)
                for service in by_source
                for real in service.real_servers
                if real.ip.version == family.version
            }
        )
        conditions = [
            *(f"-s {ip} -p {name} -m {name} --sport {port}" for name, ip, port in replies),
            *(f"-s {ip} {fragments}" for ip in reals for fragments in family.fragments),
            *family.icmp_errors,
        ]
        steps += [
            FilterChain(
                family.iptables,
                "mangle",
                "POSTROUTING",
                CHAIN_OUT,
                # Without the switch the servers' other traffic must live on.
                (
                    f"-m mark --mark {OWN_MARK:#x} -j RETURN",
                    f"-m mark --mark {FOREIGN_MARK:#x} -j RETURN",
                    *_no_redirects(family, services, host),
                    *(f"{condition} {to_queue} --queue-bypass" for condition in conditions),
                ),
            ),
            FilterChain(
                family.iptables,
                "raw",
                "PREROUTING",
                CHAIN_IN,
                (
                    # What the kernel drops by itself must not get that far as the switch.
                    "-m pkttype --pkt-type broadcast -j RETURN",
                    "-m pkttype --pkt-type multicast -j RETURN",
                    *_foreign(family, services, host),
                    *(
                        f"-d {ip} {family.last_hop} -j RETURN"
                        for ip in captured
                        if not host.is_local(ip)
                    ),
                    # No bypass: an unqueued packet to a VIP would circle on lo.
                    *(f"-d {ip} {to_queue}" for ip in captured),
                ),
            ),
        ]
        if family.version == 4:
            steps += [
                _route(host, ip, "lo")
                for ip in captured
                if host.connected(ip) and not host.is_local(ip)
            ]
        steps += _proxy_neighbours(family, host, captured)
    return tuple(steps)


def plan_tun(
    services: Sequence[Service], host: HostView, device: str, address: str, table: int
) -> tuple[Step, ...]:
    """Return the steps for capture by the TUN device `device`, which exists already.

    `address`: an IPv4 address for the device (see `free_address`); `table`: the number of an unused
    routing table (see `free_table`).  Raises HostError.
    """
    check(services, host)
    for service in services:
        if host.is_local(service.vip.ip):
            raise HostError(
                f"{service.vip.ip} is an address of this machine: remove it"
                f' (ip addr del), or use capture = "nfqueue"'
            )
    steps: list[Step] = []
    families = _families(services)
    for family in families:
        steps += _forwarding(family, host)
    steps += _device(host, device, address, has_ipv6=any(f.version == 6 for f in families))
    for family in families:
        steps += _tun_routing(family, services, host, device, table)
        steps += _proxy_neighbours(family, host, _captured(services, family))
    return tuple(steps)


def _behind(
    family: Family, services: Sequence[Service], host: HostView
) -> Iterator[tuple[tuple[str, ...], IPNetwork]]:
    """Yield real servers' networks, each with the interfaces that it is behind."""
    behind: dict[tuple[str, ...], set[IPAddress]] = {}
    for ip in _real_servers(services, family):
        behind.setdefault(_way_to(host, ip)[1], set()).add(ip)
    for devices, ips in sorted(behind.items()):
        for net in _cover(host, ips):
            yield devices, net


def _foreign(family: Family, services: Sequence[Service], host: HostView) -> list[str]:
    """Return rules on what names a real server as its source and comes from elsewhere.

    They name where it may come from, so that an interface that comes up later is not trusted.
    With full NAT its answers are captured by where they go to: such a packet is dropped.
    """
    rules: list[str] = []
    mark = "-j MARK --set-mark"
    for devices, net in _behind(family, services, host):
        if len(devices) == 1:
            rules.append(f"! -i {devices[0]} -s {net} {mark} {FOREIGN_MARK:#x}")
        else:
            rules.append(f"-s {net} {mark} {FOREIGN_MARK:#x}")
            rules += [f"-i {device} -s {net} {mark} 0" for device in devices]
    snats = _distinct((ip for service in services for ip in service.snats), family)
    return rules + [f"-m mark --mark {FOREIGN_MARK:#x} -d {ip} -j DROP" for ip in snats]


def _no_redirects(family: Family, services: Sequence[Service], host: HostView) -> list[str]:
    """Return rules by which no real server, nor a client beside it, is told of a way round us.

    The host redirects whoever could reach the next hop directly (RFC 1812, section 5.2.7.2; RFC
    4861, section 8): packets would bypass the translation.  IPv6 has no parameter against it.
    """
    devices = {d for ip in _real_servers(services, family) for d in _way_to(host, ip)[1]}
    return [f"-o {device} {family.redirect} -j DROP" for device in sorted(devices)]


def _device(host: HostView, device: str, address: str, *, has_ipv6: bool) -> list[Step]:
    """Address first, then routes; nothing of the device is recorded, as it vanishes at the end.

    Reverse path filtering must be loose: packets come back out of the device with the clients'
    addresses, and ICMP of any interface is looked up by the rules below.
    """
    ipv4, ipv6 = f"net/ipv4/conf/{device}", f"net/ipv6/conf/{device}"
    return [
        *_loose_reverse_path(host),
        Sysctl(f"{ipv4}/rp_filter", "2", recorded=False),
        # The host's own ICMP errors pass through the device and back in.
        Sysctl(f"{ipv4}/accept_local", "1", recorded=False),
        Sysctl(f"{ipv6}/addr_gen_mode", "1", recorded=False, optional=True),
        # Unless it is needed: the kernel would fill the capture with multicast of its own.
        Sysctl(f"{ipv6}/disable_ipv6", "0" if has_ipv6 else "1", recorded=False, optional=True),
        HostChange(
            ("ip", "addr", "replace", f"{address}/32", "dev", device, "scope", "link"),
            slot="device address",
        ),
        HostChange(
            ("ip", "link", "set", device, "mtu", str(DEVICE_MTU), "txqueuelen", "2000", "up"),
            slot="device up",
        ),
    ]


def _loose_reverse_path(host: HostView) -> list[Step]:
    """Sources need to be reachable only, by whichever interface (RFC 3704, section 2.4).

    What counts is the maximum of `all` and the interface's own value, so 2 beats a 1 of `all`.
    An interface without an address has no loose mode.
    """
    return [
        Sysctl(f"net/ipv4/conf/{interface.name}/rp_filter", "2")
        for interface in _traffic_interfaces(host)
        if any(address.version == 4 for address in interface.addresses)
    ]


def _tun_routing(
    family: Family, services: Sequence[Service], host: HostView, device: str, table: int
) -> list[Step]:
    """Routes of the VIPs to the device; policy rules that bring replies and errors to it.

    Every rule has an `iif`: a passed packet comes in by the device, and would match again and
    circle for ever.
    """
    by_source = [service for service in services if not service.snats]
    server_side: dict[str, set[IPAddress]] = {}
    server_nets: set[IPNetwork] = set()
    for ip in _real_servers(by_source, family):
        prefix, devices = _way_to(host, ip)
        server_nets.add(prefix)
        for name in devices:
            server_side.setdefault(name, set()).add(ip)
    client_side = [i for i in _traffic_interfaces(host) if i.name not in server_side]
    client_mtu = (
        min((i.mtu for i in client_side), default=0)
        or _mtu_towards(host, _real_servers(services, family))
        or DEVICE_MTU
    )
    source = _source(family, client_side or _traffic_interfaces(host))
    steps: list[Step] = []
    if server_side:
        default = ("default", "dev", device, "table", str(table))
        metrics = (*source, "mtu", str(client_mtu), "proto", PROTOCOL)
        steps.append(
            HostChange(
                _ip(family, "route", "replace", *default, *metrics),
                _ip(family, "route", "del", *default),
                slot=f"default route of IPv{family.version}",
            )
        )
    snats = _distinct((ip for service in services for ip in service.snats), family)
    with_snat = [service for service in services if service.snats]
    for devices, net in _behind(family, with_snat, host):
        for ip in snats:
            # Only from there on to the route by which the snat address's packets reach the switch.
            # (From lo is how the kernel looks up whether a source is a sound one: the way back.)
            answers = ("from", str(net), "to", str(ip))
            for name in (*devices, "lo"):
                steps.append(_rule(family, 0, (*answers, "iif", name, "lookup", "main")))
            steps.append(_rule(family, 1, (*answers, "blackhole")))
    lookup = ("lookup", str(table))
    # What the host itself says about a packet that it could not deliver to a real server.  Before
    # it, what it says to a real server (fragmentation needed, its own echo requests).
    for net in sorted(server_nets, key=str):
        steps.append(_rule(family, 0, ("iif", "lo", "to", str(net), "lookup", "main")))
    if server_side:
        steps.append(_rule(family, 1, ("iif", "lo", "ipproto", str(family.icmp), *lookup)))
    for name, ips in sorted(server_side.items()):
        for net in _cover(host, ips):
            steps.append(_rule(family, 2, ("from", str(net), "iif", name, *lookup)))
        # Errors of the routers behind this interface.
        steps.append(_rule(family, 3, ("iif", name, "ipproto", str(family.icmp), *lookup)))
    for ip in _captured(services, family):
        near = [i for i in host.interfaces if i.name in host.connected(ip)]
        sizes = [
            _mtu_towards(host, [real.ip for real in service.real_servers])
            for service in services
            if service.vip.ip == ip
        ]
        if any(ip in service.snats for service in services):
            sizes.append(client_mtu)
        mtu = min((size for size in sizes if size), default=client_mtu)
        steps.append(_route(host, ip, device, _source(family, near) or source, mtu))
    return steps


def _rule(family: Family, offset: int, condition: tuple[str, ...]) -> HostChange:
    rule = (*condition, "priority", str(RULE_PRIORITY + offset), "protocol", PROTOCOL)
    return HostChange(_ip(family, "rule", "add", *rule), _ip(family, "rule", "del", *rule))


def _route(
    host: HostView, ip: IPAddress, device: str, source: tuple[str, ...] = (), mtu: int = 0
) -> HostChange:
    family = _family(ip)
    if any(route.prefix == ipaddress.ip_network(ip) for route in host.routes):
        raise HostError(f"there is a route to {ip} already: remove it (ip route del {ip})")
    size = ("mtu", str(mtu)) if mtu else ()
    route = (str(ipaddress.ip_network(ip)), "dev", device)
    return HostChange(
        # `replace`, as the mtu may change while the switch runs; the check above guards others'.
        _ip(family, "route", "replace", *route, *source, *size, "proto", PROTOCOL),
        _ip(family, "route", "del", *route, "proto", PROTOCOL),
        slot=f"route {ip}",
    )


def _forwarding(family: Family, host: HostView) -> list[Step]:
    """The switch is a router.  Writing the global parameter overwrites others."""
    names = [interface.name for interface in host.interfaces]
    base = f"net/ipv{family.version}/conf"
    overwrites = [(f"{base}/{name}/forwarding", "1") for name in ("default", *names)]
    steps: list[Step] = []
    if family.version == 4:
        overwrites.append((f"{base}/all/accept_redirects", "0"))
    else:
        # A router forgets the default routes that it has from router advertisements, and believes
        # no more of them (ip-sysctl: accept_ra), unless this is set before, and taken back after.
        # At 0 they are somebody else's, of a network manager for example.
        steps += [Sysctl(f"{base}/{name}/accept_ra", "2", only_from="1") for name in host.learnt_by]
    return [*steps, Sysctl(family.forwarding, "1", tuple(overwrites))]


def _proxy_neighbours(family: Family, host: HostView, ips: Iterable[IPAddress]) -> list[Step]:
    """Answer ARP or neighbour solicitations for addresses that lie in a connected subnet."""
    steps: list[Step] = []
    wanted = [(ip, name) for ip in ips for name in host.connected(ip) if not host.is_local(ip)]
    names = list(dict.fromkeys(name for _, name in wanted))
    # Else each first answer waits for up to 0.8 s.
    steps += [Sysctl(f"net/ipv{family.version}/neigh/{n}/proxy_delay", "0") for n in names]
    if names and family.version == 6:
        steps += [Sysctl(f"net/ipv6/conf/{n}/proxy_ndp", "1") for n in ("all", *names)]
    for ip, name in wanted:
        if (ip, name) not in host.proxies:
            entry = ("proxy", str(ip), "dev", name)
            steps.append(
                HostChange(
                    ("ip", "neigh", "add", *entry, "protocol", PROTOCOL),
                    ("ip", "neigh", "del", *entry),
                )
            )
    return steps


def check(services: Sequence[Service], host: HostView) -> None:
    """Raise HostError where real servers loop back to the switch or cannot be reached."""
    captured = {ip for service in services for ip in service.captured}
    for service in services:
        for snat in service.snats:
            if snat != service.vip.ip and host.is_local(snat):
                raise HostError(
                    f"snat {snat} is an address of this machine: choose one that nobody has"
                )
        for real_server in service.real_servers:
            if real_server.ip in captured:
                raise HostError(f"real server {real_server} is a VIP of this switch: a loop")
            if host.is_local(real_server.ip):
                raise HostError(
                    f"real server {real_server} is this machine itself: its replies to clients"
                    " would bypass the switch"
                )
            _way_to(host, real_server.ip)


def free_table(host: HostView, first: int = 7450) -> int:
    """Return the number of a routing table in which nobody has routes."""
    return next(n for n in range(first, first + 10_000) if str(n) not in host.tables)


def free_address(host: HostView) -> str:
    """Return a link-local IPv4 address (RFC 3927) that this machine does not have."""
    candidates = (ipaddress.IPv4Address("169.254.76.1") + n for n in range(200))
    return str(next(ip for ip in candidates if not host.is_local(ip)))


def _way_to(host: HostView, ip: IPAddress) -> tuple[IPNetwork, tuple[str, ...]]:
    """Return the narrowest network the rules may name for this real server, and its devices."""
    route = host.route_to(ip)
    if route is None or not route.devices:
        raise HostError(f"there is no route to real server {ip}: add one (ip route add)")
    # Behind the default route everything lies, clients too.
    prefix = route.prefix if route.prefix.prefixlen else ipaddress.ip_network(ip)
    return prefix, route.devices


def _cover(host: HostView, ips: Iterable[IPAddress]) -> list[IPNetwork]:
    """Return few networks that contain the addresses: exact where that takes few."""
    exact = _collapse([ipaddress.ip_network(ip) for ip in ips])
    if len(exact) <= MAX_EXACT_RULES:
        return exact
    return _collapse([_way_to(host, ip)[0] for ip in ips])


def _collapse(networks: list[IPNetwork]) -> list[IPNetwork]:
    four = [n for n in networks if isinstance(n, ipaddress.IPv4Network)]
    six = [n for n in networks if isinstance(n, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def _mtu_towards(host: HostView, ips: Iterable[IPAddress]) -> int:
    """Return the smallest MTU of the ways to these addresses; 0 if there are none."""
    sizes: list[int] = []
    for ip in ips:
        route = host.route_to(ip)
        if route is not None:
            interfaces = [host.interface(name) for name in route.devices]
            sizes += [interface.mtu for interface in interfaces if interface is not None]
            sizes += [route.mtu] if route.mtu else []
    return min(sizes, default=0)


def _traffic_interfaces(host: HostView) -> list[HostInterface]:
    """Return the interfaces that clients and real servers may be reached by."""
    return [i for i in host.interfaces if i.name != "lo" and i.addresses]


def _source(family: Family, interfaces: Iterable[HostInterface]) -> tuple[str, ...]:
    """Return `src ADDRESS`: else the host would speak with the device's link-local address."""
    for interface in interfaces:
        for address in interface.addresses:
            if address.version == family.version and not address.ip.is_link_local:
                return ("src", str(address.ip))
    return ()


def _ip(family: Family, *arguments: str) -> tuple[str, ...]:
    return ("ip", f"-{family.version}", *arguments)


def _family(ip: IPAddress) -> Family:
    return next(family for family in FAMILIES if family.version == ip.version)


def _families(services: Sequence[Service]) -> list[Family]:
    versions = {service.vip.ip.version for service in services}
    return [family for family in FAMILIES if family.version in versions]


def _captured(services: Sequence[Service], family: Family) -> list[IPAddress]:
    return _distinct((ip for service in services for ip in service.captured), family)


def _real_servers(services: Sequence[Service], family: Family) -> list[IPAddress]:
    return _distinct((real.ip for service in services for real in service.real_servers), family)


def _distinct(ips: Iterable[IPAddress], family: Family) -> list[IPAddress]:
    return sorted({ip for ip in ips if ip.version == family.version}, key=int)
