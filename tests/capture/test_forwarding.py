"""What chain FORWARD does with what the switch forwards, as far as its rules tell."""

from __future__ import annotations

import ipaddress

import pytest

from lb_switch.host import forwarding
from lb_switch.host.forwarding import Passing

VIP, RIP = ipaddress.ip_address("10.0.1.100"), ipaddress.ip_address("10.0.2.11")
TO_SERVER = Passing("lbtun", "srv0", None, RIP, "tcp")

DOCKER = """\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-FORWARD
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -o docker0 -j DOCKER
-A DOCKER-USER -j RETURN
"""


@pytest.mark.parametrize(
    ("rules", "dropped_by"),
    [
        ("-P FORWARD ACCEPT", ""),
        ("-P FORWARD DROP", "-P FORWARD DROP"),
        (DOCKER, "-P FORWARD DROP"),
        (DOCKER + "-A DOCKER-USER -i lbtun -j ACCEPT", "-P FORWARD DROP"),  # behind the RETURN
        (DOCKER.replace("-j RETURN", "-i lbtun -j ACCEPT"), ""),
        ("-P FORWARD DROP\n-A FORWARD -d 10.0.2.0/24 -j ACCEPT", ""),
        ("-P FORWARD DROP\n-A FORWARD ! -d 10.0.2.0/24 -j ACCEPT", "-P FORWARD DROP"),
        ("-P FORWARD DROP\n-A FORWARD -o srv+ -p tcp -j ACCEPT", ""),
        ("-P FORWARD DROP\n-A FORWARD -p udp -j ACCEPT", "-P FORWARD DROP"),
        (
            "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable",
            "-A FORWARD -j REJECT",
        ),
        (
            "-P FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-P FORWARD DROP",
        ),
        ('-P FORWARD DROP\n-A FORWARD -m comment --comment "a -j b" -j ACCEPT', ""),
        # What cannot be known is not told.
        ("-P FORWARD DROP\n-A FORWARD -s 10.0.1.0/24 -j ACCEPT", ""),
        ("-P FORWARD DROP\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT", ""),
        ("-P FORWARD ACCEPT\n-A FORWARD -p tcp -m tcp --dport 22 -j DROP", ""),
        ("-P FORWARD DROP\n-A FORWARD -m set --match-set good dst -j ACCEPT", ""),
        ("-P FORWARD ACCEPT\n-A FORWARD -i eth9 -j DROP", ""),
        ("-P FORWARD DROP\n-A FORWARD -j LOG\n-A FORWARD -o srv0 -j ACCEPT", ""),
        ("-P FORWARD DROP\n-N A\n-A FORWARD -j A\n-A A -j A", ""),  # a circle
        ("", ""),
    ],
)
def test_what_drops(rules: str, dropped_by: str) -> None:
    chains = forwarding.parse(rules.splitlines())
    assert forwarding.what_drops(chains, TO_SERVER) == dropped_by


def test_the_ways_of_a_connection() -> None:
    tun = list(forwarding.ways("lbtun", "cli0", "srv0", VIP, RIP, "tcp"))
    assert [(each.incoming, each.outgoing) for each in tun] == [
        ("cli0", "lbtun"),
        ("lbtun", "srv0"),
        ("srv0", "lbtun"),
        ("lbtun", "cli0"),
    ]
    queue = list(forwarding.ways("", "cli0", "srv0", VIP, RIP, "tcp"))
    assert [(each.incoming, each.outgoing) for each in queue] == [
        ("cli0", "srv0"),
        ("srv0", "cli0"),
    ]
