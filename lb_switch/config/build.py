"""From a valid `Config` to the `Switch` it describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lb_switch.config.schema import Config, SwitchTable, VirtualServerTable
from lb_switch.connections.tcp_state import State
from lb_switch.packet.protocol import PROTOCOL_NAMES
from lb_switch.scheduling import catalogue
from lb_switch.servers import RealServer, VirtualServer
from lb_switch.switch import Settings, Switch

PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}


class _NotYet(NamedTuple):
    key: str
    wanted: Callable[[VirtualServerTable], bool]
    matters_offline: bool
    """Whether a replay, for which all real servers are healthy, depends on it too."""


NOT_YET = (
    _NotYet("health_check.kind", lambda vs: vs.health_check.kind != "none", False),
    _NotYet("persistence_timeout", lambda vs: vs.persistence_timeout > 0, True),
    _NotYet("forward", lambda vs: vs.forward != "nat", True),
)
"""Valid options that this version cannot honour yet: refused, never silently ignored."""


def unsupported(config: Config, *, offline: bool = False) -> list[str]:
    """Return one line for each option of NOT_YET that the configuration uses."""
    lines = []
    for index, table in enumerate(config.virtual_server):
        for key, wanted, matters_offline in NOT_YET:
            if wanted(table) and (matters_offline or not offline):
                value: object = table
                for part in key.split("."):
                    value = getattr(value, part)
                lines.append(f"virtual_server[{index}].{key}: {value!r} is not supported yet")
    return lines


def build(config: Config) -> Switch:
    """Make a switch with the configured virtual servers; all real servers count as healthy."""
    switch = Switch(settings(config.switch))
    for table in config.virtual_server:
        switch.add_virtual_server(virtual_server(table, config.switch.hash_key))
    return switch


def settings(table: SwitchTable) -> Settings:
    """Return what holds for the whole switch."""
    return Settings(
        max_connections=table.max_connections,
        unknown_tcp=table.unknown_tcp,
        timeouts={state: getattr(table.timeouts, state.name.lower()) for state in State},
    )


def virtual_server(table: VirtualServerTable, hash_key: str) -> VirtualServer:
    """Make one virtual server, its scheduler and its group."""
    return VirtualServer(
        table.name,
        table.address,
        PROTOCOLS[table.protocol],
        catalogue.make(table.scheduler, hash_on=table.hash_on, hash_key=hash_key),
        [RealServer(entry.address, entry.weight) for entry in table.real_server],
        on_down=table.on_down,
    )
