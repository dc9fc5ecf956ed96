"""Groups of real servers and flow keys for the schedulers' tests."""

from __future__ import annotations

import ipaddress

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.servers import RealServer, Scheduler, VirtualServer


def group(scheduler: Scheduler, *weights: int) -> VirtualServer:
    """Return a virtual server with real servers 10.0.2.11:80, 10.0.2.12:80, … of these weights."""
    servers = [RealServer(Endpoint.parse(f"10.0.2.{11 + i}:80"), w) for i, w in enumerate(weights)]
    return VirtualServer("web", Endpoint.parse("10.0.1.100:80"), TCP, scheduler, servers)


def key(client: int, port: int = 40000) -> bytes:
    """Return the flow key of the client-th address of 10.1.0.0/16."""
    address = int(ipaddress.ip_address("10.1.0.0")) + client
    vip = ipaddress.ip_address("10.0.1.100").packed
    return address.to_bytes(4, "big") + vip + port.to_bytes(2, "big") + (80).to_bytes(2, "big")


def key6(client: int, port: int = 40000) -> bytes:
    """Return the flow key of a client in 2001:db8:1::/64."""
    address = int(ipaddress.ip_address("2001:db8:1::")) + client
    vip = ipaddress.ip_address("2001:db8::100").packed
    return address.to_bytes(16, "big") + vip + port.to_bytes(2, "big") + (80).to_bytes(2, "big")


def picks(virtual_server: VirtualServer, count: int) -> str:
    """Let the scheduler choose; name each choice by a letter in configured order: `abcab`."""
    names = {server: chr(ord("a") + i) for i, server in enumerate(virtual_server.real_servers)}
    return "".join(
        names[virtual_server.scheduler.choose(key(i), virtual_server.usable_servers)]
        for i in range(count)
    )


def set_health(virtual_server: VirtualServer, name: str, healthy: bool) -> None:
    """Bring the server of that letter up or down."""
    virtual_server.real_servers[ord(name) - ord("a")].healthy = healthy
    virtual_server.refresh()
