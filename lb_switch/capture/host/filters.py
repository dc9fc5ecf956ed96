"""Firewall rules that name a VIP, where NFQUEUE makes them miss its packets.

NFQUEUE rewrites packets before they are routed, so that chain FORWARD sees the real server as their
destination; with TUN it sees the VIP first.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable

from lb_switch.capture.host.run import run
from lb_switch.capture.interface import CaptureError
from lb_switch.packet.endpoint import IPAddress


def about_vips(vips: Iterable[IPAddress]) -> list[str]:
    """Return the rules of FORWARD that name one of these as the destination, as iptables has them.

    A rule about a whole network is left out: it may well be meant for others.
    """
    wanted = {ipaddress.ip_network(vip) for vip in vips}
    rules: list[str] = []
    for program, version in (("iptables", 4), ("ip6tables", 6)):
        if any(vip.version == version for vip in wanted):
            try:
                listed = run((program, "-w", "-S", "FORWARD")).splitlines()
            except CaptureError:  # no such table: no rules
                continue
            rules += [f"{program} {line}" for line in listed if _destination(line) in wanted]
    return rules


def _destination(rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    words = rule.split()
    for word, value in itertools.pairwise(words):
        if word == "-d":
            try:
                return ipaddress.ip_network(value, strict=False)
            except ValueError:
                return None
    return None
