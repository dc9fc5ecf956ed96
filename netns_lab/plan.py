"""From a topology to the commands that build it and the commands that remove it.  Pure.

The segments are bridges inside their gateway's namespace: the switch then routes straight from one
bridge to the other, with a single veth pair between it and any host.  On its gateway a segment's
interface has the segment's name; a host's only interface, and a router's own, is `eth0`.
"""

from __future__ import annotations

from collections.abc import Sequence

from netns_lab.topology import SWITCH, Host, Router, Segment, Topology

Command = tuple[str, ...]

HOST_INTERFACE = "eth0"


def namespace(prefix: str, host: str) -> str:
    """The network namespace of one host (or of `switch`)."""
    return prefix + host


def namespaces(topology: Topology, prefix: str) -> tuple[str, ...]:
    """Every namespace of a lab: the switch's first."""
    return tuple(namespace(prefix, name) for name in (SWITCH, *(m.name for m in topology.machines)))


def port(host: str) -> str:
    """The port of a machine on its segment: an interface of the segment's gateway."""
    return f"to-{host}"


def inside(netns: str, *command: str) -> Command:
    """The command, run in a namespace.  `ip netns exec` replaces itself, so the pid stays."""
    return ("ip", "netns", "exec", netns, *command)


def up_commands(topology: Topology, prefix: str) -> list[Command]:
    """The commands that build the lab, in order.  Each must succeed."""
    switch = namespace(prefix, SWITCH)
    commands = _new_namespace(switch, ipv6=_has_ipv6(topology.segments))
    commands += _gateway_commands(topology, switch, SWITCH)
    for router in topology.routers:
        netns = namespace(prefix, router.name)
        commands += _machine_commands(topology, prefix, router)
        commands += _gateway_commands(topology, netns, router.name)
        commands += _routes_to(topology, prefix, router)
    for host in topology.hosts:
        commands += _machine_commands(topology, prefix, host)
    return commands


def down_commands(namespaces: Sequence[str]) -> list[Command]:
    """The commands that remove namespaces; links, addresses and rules go with them."""
    return [("ip", "netns", "delete", netns) for netns in namespaces]


def _has_ipv6(segments: Sequence[Segment]) -> bool:
    return any(interface.version == 6 for each in segments for interface in each.interfaces)


def _sysctl(*settings: str, ignore_unknown: bool = False) -> Command:
    return ("sysctl", "-q", *(("-e",) if ignore_unknown else ()), "-w", *settings)


def _new_namespace(netns: str, *, ipv6: bool) -> list[Command]:
    # Before any interface exists: `default` is copied when one is made.  Without duplicate address
    # detection an IPv6 address works at once; mode 1 makes no link-local address, hence no noise.
    quiet = [
        "net.ipv6.conf.all.accept_dad=0",
        "net.ipv6.conf.default.accept_dad=0",
        "net.ipv6.conf.default.accept_ra=0",
        "net.ipv6.conf.default.router_solicitations=0",
        f"net.ipv6.conf.default.addr_gen_mode={0 if ipv6 else 1}",
    ]
    # Where the host has br_netfilter loaded, bridged frames would run through iptables a second
    # time.
    no_bridge_filter = [
        "net.bridge.bridge-nf-call-iptables=0",
        "net.bridge.bridge-nf-call-ip6tables=0",
        "net.bridge.bridge-nf-call-arptables=0",
    ]
    return [
        ("ip", "netns", "add", netns),
        inside(netns, *_sysctl(*quiet, *no_bridge_filter, ignore_unknown=True)),
        ("ip", "-n", netns, "link", "set", "lo", "up"),
    ]


def _gateway_commands(topology: Topology, netns: str, name: str) -> list[Command]:
    commands = [inside(netns, *_sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"))]
    for segment in topology.segments_of(name):
        commands += _segment_commands(netns, segment)
    return commands


def _routes_to(topology: Topology, prefix: str, router: Router) -> list[Command]:
    """The way to the segments behind a router, for the gateway that it has itself."""
    netns = namespace(prefix, topology.segment(router.segment).gateway)
    commands: list[Command] = []
    for network in topology.networks_behind(router):
        way = ("via", str(router.ip_of_family(network.version)))
        family = f"-{network.version}"
        commands.append(("ip", family, "-n", netns, "route", "add", str(network), *way))
    return commands


def _segment_commands(netns: str, segment: Segment) -> list[Command]:
    ip = ("ip", "-n", netns)
    bridge = ("type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
    return [
        (*ip, "link", "add", segment.name, "mtu", str(segment.mtu), *bridge),
        *((*ip, "address", "add", text, "dev", segment.name) for text in segment.gateway_addresses),
        (*ip, "link", "set", segment.name, "up"),
    ]


def _machine_commands(topology: Topology, prefix: str, host: Host) -> list[Command]:
    segment = topology.segment(host.segment)
    gateway, netns = namespace(prefix, segment.gateway), namespace(prefix, host.name)
    own_port = port(host.name)
    mtu = str(segment.mtu)
    peer = ("peer", "name", HOST_INTERFACE, "mtu", mtu, "netns", netns)
    commands = [
        *_new_namespace(netns, ipv6=_has_ipv6([segment])),
        ("ip", "-n", gateway, "link", "add", own_port, "mtu", mtu, "type", "veth", *peer),
        ("ip", "-n", gateway, "link", "set", own_port, "master", segment.name, "up"),
    ]
    if not topology.offload:
        commands += [
            inside(gateway, "ethtool", "-K", own_port, "tx", "off"),
            inside(netns, "ethtool", "-K", HOST_INTERFACE, "tx", "off"),
        ]
    ways = []
    for ip in host.ips:
        way = segment.interface_for(ip)
        assert way is not None  # the topology has checked it
        if way.ip not in ways:
            ways.append(way.ip)
        length = way.network.prefixlen
        commands += [("ip", "-n", netns, "address", "add", f"{ip}/{length}", "dev", HOST_INTERFACE)]
    commands += [("ip", "-n", netns, "link", "set", HOST_INTERFACE, "up")]
    for via in ways:
        family = f"-{via.version}"
        commands += [
            ("ip", family, "-n", netns, "route", "add", "default", "via", str(via)),
        ]
    return commands
