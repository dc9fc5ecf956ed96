"""Which firewall rules miss the packets that they name, with nfqueue."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from lb_switch.host import filters, forwarding
from lb_switch.host.error import HostError

LISTED = """-P FORWARD ACCEPT
-A FORWARD -s 10.0.1.100/32 -j DROP
-A FORWARD -d 10.0.1.100/32 -p tcp -j DROP
-A FORWARD -d 10.0.1.0/24 -j ACCEPT
-A FORWARD ! -d 192.0.2.1/32 -j ACCEPT
-A FORWARD -d"""


def test_only_rules_about_the_vip_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(argv: Sequence[str]) -> str:
        ran.append(argv[0])
        if argv[0] == "ip6tables":
            raise HostError("no such table")
        return LISTED

    monkeypatch.setattr(forwarding, "run", run)
    vips = [ipaddress.ip_address("10.0.1.100"), ipaddress.ip_address("2001:db8::1")]
    assert filters.about_vips(vips) == ["iptables -A FORWARD -d 10.0.1.100/32 -p tcp -j DROP"]
    assert ran == ["iptables", "ip6tables"]
    ran.clear()
    assert filters.about_vips([ipaddress.ip_address("10.0.1.9")]) == []
    assert ran == ["iptables"]


def test_rules_in_chains_that_forward_leads_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = """\
-P INPUT ACCEPT
-P FORWARD ACCEPT
-N alone
-N inner
-N loop
-N web
-A INPUT -d 10.0.1.100/32 -j DROP
-A FORWARD -i eth0 -j web
-A alone -d 10.0.1.100/32 -j ACCEPT
-A inner -d 10.0.1.100/32 -p tcp -m tcp --dport 22 -j REJECT
-A loop -j web
-A web -g inner
-A web -j loop
"""
    monkeypatch.setattr(forwarding, "run", lambda _argv: listed)
    assert filters.about_vips([ipaddress.ip_address("10.0.1.100")]) == [
        "iptables -A inner -d 10.0.1.100/32 -p tcp -m tcp --dport 22 -j REJECT"
    ]
