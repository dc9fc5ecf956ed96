"""From a topology to the configuration file of its switch.  Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from netns_lab.topology import SWITCH, Topology, VirtualServer, endpoint


def switch_config(
    topology: Topology,
    *,
    capture: str,
    scheduler: str,
    control_socket: Path,
    interval: float = 1.0,
    options: Mapping[str, int | str] = MappingProxyType({}),
) -> str:
    """The TOML text for `lb-switch run`: one scheduler for every virtual server.

    interval: seconds between two health checks of a real server.  options: further keys of the
    table `switch`.
    """
    lines = [
        f"# The switch of the lab {topology.name!r}: {topology.summary}.",
        "[switch]",
        f"capture = {_string(capture)}",
        f"control_socket = {_string(str(control_socket))}",
        *(f"{key} = {json.dumps(value)}" for key, value in options.items()),
        "",
        *_hosts(topology),
    ]
    for virtual_server in topology.virtual_servers:
        lines += ["", *_virtual_server(topology, virtual_server, scheduler, interval)]
    return "\n".join(lines) + "\n"


def _hosts(topology: Topology) -> list[str]:
    """The names by which the switch calls the machines when it explains a packet."""
    own = [str(interface.ip) for each in topology.segments for interface in each.interfaces]
    machines = {SWITCH: own, **{host.name: list(host.addresses) for host in topology.hosts}}
    return [
        "[hosts]",
        # A JSON list of strings is a TOML array.
        *(f"{_string(name)} = {json.dumps(addresses)}" for name, addresses in machines.items()),
    ]


def _virtual_server(
    topology: Topology, virtual_server: VirtualServer, scheduler: str, interval: float
) -> list[str]:
    lines = [
        "[[virtual_server]]",
        f"name = {_string(virtual_server.name)}",
        f"address = {_string(virtual_server.endpoint)}",
        f"protocol = {_string(virtual_server.protocol)}",
        f"scheduler = {_string(scheduler)}",
        f"forward = {_string(virtual_server.forward)}",
        *_options(virtual_server),
        "",
        "  [virtual_server.health_check]",
        f"  kind = {_string(virtual_server.check)}",
    ]
    if virtual_server.check == "https":
        # The lab's certificate is of its own making.
        lines.append("  verify = false")
    if virtual_server.check != "none":
        lines += [f"  interval = {interval:.3f}", "  timeout = 1.0", "  rise = 2", "  fall = 2"]
    port = virtual_server.real_port or virtual_server.port
    for name in virtual_server.real_servers:
        ip = topology.host(name).ip_of_family(virtual_server.ip.version)
        lines += [
            "",
            f"  [[virtual_server.real_server]]  # {name}",
            f"  address = {_string(endpoint(ip, port))}",
        ]
    return lines


def _options(virtual_server: VirtualServer) -> list[str]:
    """The lines of the options that are not as by default."""
    lines = []
    if virtual_server.snat:
        lines.append(f"snat = {_string(virtual_server.snat)}")
    if virtual_server.persistence_timeout:
        lines.append(f"persistence_timeout = {virtual_server.persistence_timeout:g}")
    if virtual_server.persistence_prefix:
        lines.append(f"persistence_prefix = {virtual_server.persistence_prefix}")
    if virtual_server.one_packet:
        lines.append("one_packet = true")
    return lines


def _string(text: str) -> str:
    # A JSON string of printable ASCII is a TOML basic string.
    return json.dumps(text)
