"""Firewall rules that name a VIP, where NFQUEUE makes them miss its packets.

NFQUEUE rewrites packets before they are routed, so that chain FORWARD sees the real server as their
destination; with TUN it sees the VIP first.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.host import forwarding
from lb_switch.host.plan import IPTABLES


def about_vips(vips: Iterable[IPAddress]) -> list[str]:
    """Return the rules on a forwarded packet's way that name one of these as the destination.

    They stand as iptables has them: those of chain FORWARD and of the chains that it leads to.  A
    rule about a whole network is left out: it may well be meant for others.
    """
    vips = tuple(vips)
    rules: list[str] = []
    for version in sorted({vip.version for vip in vips}):
        wanted = {ipaddress.ip_network(vip) for vip in vips if vip.version == version}
        met = _on_the_way(forwarding.read(version))
        rules += [f"{IPTABLES[version]} {rule}" for rule in met if _destination(rule) in wanted]
    return rules


def _on_the_way(chains: forwarding.Chains) -> list[str]:
    """Return the rules of FORWARD, and of every chain that it leads to."""
    reached, new = dict[str, None](), ["FORWARD"]
    while new:
        chain = new.pop()
        if chain in chains.rules and chain not in reached:
            reached[chain] = None
            for rule in chains.rules[chain]:
                words = rule.split()
                new += [to for word, to in itertools.pairwise(words) if word in {"-j", "-g"}]
    return [f"-A {chain} {rule}" for chain in reached for rule in chains.rules[chain]]


def _destination(rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    words = rule.split()
    for word, value in itertools.pairwise(words):
        if word == "-d":
            try:
                return ipaddress.ip_network(value, strict=False)
            except ValueError:
                return None
    return None
