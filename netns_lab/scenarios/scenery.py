"""The network in which the scenarios play: three clients, three web servers that are alike."""

from __future__ import annotations

from typing import Literal

from netns_lab.topologies import ECHO, HTTP, Host, Segment, Topology, VirtualServer

VIP = "10.0.1.100"
SERVERS = ("s1", "s2", "s3")

_PICTURE = """
 clients               +-----------+               real servers
 c1 10.0.1.11 --+      |           |      +-- s1 10.0.2.11 port 80
 c2 10.0.1.12 --+------+ lb-switch +------+-- s2 10.0.2.12 port 80
 c3 10.0.1.13 --+      |           |      +-- s3 10.0.2.13 port 80
                       +-----------+
""".strip("\n").splitlines()
_PICTURE_WIDTH = max(map(len, _PICTURE))


def picture(topology: Topology) -> list[str]:
    """Return the network as lines of text."""
    vips = [str(ip) for ip in topology.vips]
    what = "virtual IPs, no machine's addresses" if vips[1:] else "virtual IP, no machine's address"
    return [*_PICTURE, f"{', '.join(vips)}: {what}".center(_PICTURE_WIDTH).rstrip()]


def topology(name: str, summary: str, *virtual_servers: VirtualServer) -> Topology:
    """Return the network with these virtual servers."""
    return Topology(
        name=name,
        summary=summary,
        segments=(Segment("clients", ("10.0.1.1/24",)), Segment("servers", ("10.0.2.1/24",))),
        hosts=(
            *(Host(f"c{n}", "clients", (f"10.0.1.{10 + n}",)) for n in (1, 2, 3)),
            *(Host(f"s{n}", "servers", (f"10.0.2.{10 + n}",), (HTTP, *ECHO)) for n in (1, 2, 3)),
        ),
        virtual_servers=virtual_servers,
    )


def web(
    real_servers: tuple[str, ...] = SERVERS, check: Literal["http", "none"] = "none"
) -> VirtualServer:
    """Return the virtual server that most scenarios have."""
    return VirtualServer("web", VIP, 80, real_servers, check=check)
