"""Firewall rules that name a VIP, where NFQUEUE makes them miss its packets.

NFQUEUE rewrites packets before they are routed, so that chain FORWARD sees the real server as their
destination; with TUN it sees the VIP first.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Sequence

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.host.error import HostError
from lb_switch.host.run import run


def about_vips(vips: Iterable[IPAddress]) -> list[str]:
    """Return the rules on a forwarded packet's way that name one of these as the destination.

    They stand as iptables has them: those of chain FORWARD and of the chains that it leads to.  A
    rule about a whole network is left out: it may well be meant for others.
    """
    wanted = {ipaddress.ip_network(vip) for vip in vips}
    rules: list[str] = []
    for program, version in (("iptables", 4), ("ip6tables", 6)):
        if any(vip.version == version for vip in wanted):
            try:
                listed = run((program, "-w", "-S")).splitlines()
            except HostError:  # no such table: no rules
                continue
            met = _on_the_way(listed)
            rules += [f"{program} {line}" for line in met if _destination(line) in wanted]
    return rules


def _on_the_way(rules: Sequence[str]) -> list[str]:
    """Return the rules of FORWARD, and of every chain that it leads to."""
    chains: dict[str, list[str]] = {}
    for rule in rules:
        command, chain, *_ = rule.split()
        if command == "-A":
            chains.setdefault(chain, []).append(rule)
    reached, new = dict[str, None](), ["FORWARD"]
    while new:
        chain = new.pop()
        if chain in chains and chain not in reached:
            reached[chain] = None
            for rule in chains[chain]:
                words = rule.split()
                new += [to for word, to in itertools.pairwise(words) if word in {"-j", "-g"}]
    return [rule for chain in reached for rule in chains[chain]]


def _destination(rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    words = rule.split()
    for word, value in itertools.pairwise(words):
        if word == "-d":
            try:
                return ipaddress.ip_network(value, strict=False)
            except ValueError:
                return None
    return None
