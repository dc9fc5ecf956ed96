"""The lab of the attacks, as data: honest clients, real servers, and an attacker on either side."""

from __future__ import annotations

from typing import Literal

from netns_lab.topology import Host, Segment, Topology, VirtualServer

CLIENT = "c1"
NEAR = "x1"
"""The attacker on the clients' side: the internet.  Forged sources are routed to him."""
FAR = "x2"
"""The attacker on the real servers' link."""
SERVERS = ("s1", "s2")

TCP_PORT = UDP_PORT = 7  # RFC 862
VOID_PORT = 9  # RFC 863

_SERVICES: tuple[tuple[str, int, Literal["tcp", "udp"]], ...] = (
    ("echo", TCP_PORT, "tcp"),
    ("ask", UDP_PORT, "udp"),
    ("void", VOID_PORT, "udp"),
)

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SNATS = {4: "10.0.2.200", 6: "2001:db8:2::200"}
FORGED = {4: ("0b", "11.0.0.0/8"), 6: ("20010db80bad", "2001:db8:bad::/48")}
"""The first bytes of the sources that nobody has, and the network they lie in."""


def topology(forward: str) -> Topology:
    """The lab with plain or full NAT, over IPv4 and IPv6."""
    full = forward == "full_nat"
    return Topology(
        name=f"attack-{forward}",
        summary="honest clients, real servers, and an attacker on either side",
        segments=(
            Segment("clients", ("10.0.1.1/24", "2001:db8:1::1/64")),
            Segment("servers", ("10.0.2.1/24", "2001:db8:2::1/64")),
        ),
        # No services: the lab's own servers are not made for floods.
        hosts=(
            Host(CLIENT, "clients", ("10.0.1.11", "2001:db8:1::11")),
            Host(NEAR, "clients", ("10.0.1.66", "2001:db8:1::66")),
            Host(FAR, "servers", ("10.0.2.66", "2001:db8:2::66")),
            Host("s1", "servers", ("10.0.2.11", "2001:db8:2::11")),
            Host("s2", "servers", ("10.0.2.12", "2001:db8:2::12")),
        ),
        virtual_servers=tuple(
            VirtualServer(
                f"{name}{version}",
                vip,
                port,
                SERVERS,
                protocol,
                forward="full_nat" if full else "nat",
                snat=SNATS[version] if full else "",
            )
            for version, vip in VIPS.items()
            for name, port, protocol in _SERVICES
        ),
    )
