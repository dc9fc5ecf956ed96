"""The benchmark's lab, as data: one client, three servers, the switch between them."""

from __future__ import annotations

from netns_lab.topologies import Host, Segment, Topology, VirtualServer

VIP = "10.0.1.100"
HTTP_PORT = 80
BULK_PORT = 5201
ECHO_PORT = 7  # RFC 862

CLIENT = "c1"
SERVERS = ("s1", "s2", "s3")
BULK_SERVER = "s1"
"""iperf3 opens its control and its data connections one by one: they must meet at one server."""

BENCH = Topology(
    name="bench",
    summary="one client, three servers, and a contestant as the router between them",
    segments=(
        Segment("clients", ("10.0.1.1/24",)),
        Segment("servers", ("10.0.2.1/24",)),
    ),
    # No services: the lab's own servers are for tests; here nginx and iperf3 serve.
    hosts=(
        Host(CLIENT, "clients", ("10.0.1.11",)),
        Host("s1", "servers", ("10.0.2.11",)),
        Host("s2", "servers", ("10.0.2.12",)),
        Host("s3", "servers", ("10.0.2.13",)),
    ),
    virtual_servers=(
        VirtualServer("web", VIP, HTTP_PORT, SERVERS),
        VirtualServer("bulk", VIP, BULK_PORT, (BULK_SERVER,)),
        VirtualServer("echo", VIP, ECHO_PORT, SERVERS, "udp"),
    ),
    offload=True,
)


def rips(names: tuple[str, ...] = SERVERS) -> tuple[str, ...]:
    """The addresses of these servers."""
    return tuple(str(BENCH.host(name).ip_of_family(4)) for name in names)
