"""What a configuration means on this host, where it is legal but hardly what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lb_switch.capture.host.view import HostView
    from lb_switch.servers import VirtualServer


def shared_subnets(virtual_servers: Iterable[VirtualServer], host: HostView) -> list[str]:
    """Return a line for each virtual server whose VIP lies among its real servers.

    A client there gets the real server's answers directly, past the switch, from an address it
    never called: plain NAT cannot work for it.
    """
    lines = []
    for virtual_server in virtual_servers:
        shared = sorted(
            {
                device
                for real_server in virtual_server.real_servers
                for device in host.connected(real_server.endpoint.ip)
            }
            & set(host.connected(virtual_server.endpoint.ip))
        )
        if shared:
            lines.append(
                f"{virtual_server.name}: clients in the real servers' own subnet"
                f' ({", ".join(shared)}) need forward = "full_nat"'
            )
    return lines


def empty_groups(virtual_servers: Iterable[VirtualServer]) -> list[str]:
    """Return a line for each virtual server that has no usable real server."""
    return [
        f"{virtual_server.name}: no real server with a weight above 0: connections are rejected"
        for virtual_server in virtual_servers
        if not virtual_server.usable_servers
    ]
