"""A topology as text, for people."""

from __future__ import annotations

from netns_lab.topology import SWITCH, USUAL_MTU, Host, Router, Segment, Topology


def picture(topology: Topology) -> str:
    """Segments with their hosts, then the virtual servers with their groups; 80 columns."""
    lines = []
    for segment in topology.segments:
        lines += _segment(topology, segment)
    lines.append("")
    for virtual_server in topology.virtual_servers:
        group = ", ".join(virtual_server.real_servers)
        lines.append(
            f"virtual server {virtual_server.name:<10} {virtual_server.protocol} "
            f"{virtual_server.endpoint} -> {group}"
        )
    return "\n".join(lines)


def _segment(topology: Topology, segment: Segment) -> list[str]:
    hosts = [host for host in topology.machines if host.segment == segment.name]
    addresses = ", ".join(str(each) for each in segment.interfaces)
    gateway = "the switch" if segment.gateway == SWITCH else segment.gateway
    narrow = "" if segment.mtu == USUAL_MTU else f" (MTU {segment.mtu})"
    lines = [f"{segment.name}: {gateway} is {addresses}{narrow}"]
    width = max((len(", ".join(host.addresses)) for host in topology.machines), default=0)
    for host in hosts:
        branch = "`--" if host is hosts[-1] else "|--"
        own = ", ".join(host.addresses)
        lines.append(f"  {branch} {host.name:<5} {own:<{width}}  {_offers(host)}")
    return lines


def _offers(host: Host) -> str:
    if isinstance(host, Router):
        return "router"
    # The two echo services are one to whoever reads this.
    texts = dict.fromkeys(
        f"{each.kind.removeprefix('tcp-').removeprefix('udp-')} {each.port}"
        for each in host.services
    )
    return ", ".join(texts) or "client"
