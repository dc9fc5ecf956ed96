"""From a valid `Config` to the `Switch` it describes."""

from __future__ import annotations

from lb_switch.config import schema
from lb_switch.config.schema import Config, SwitchTable, VirtualServerTable
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.nat.answer_limit import AnswersPerSecond
from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.scheduling import catalogue
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.health.check import HealthCheck

PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}


def build(config: Config, port_secret: bytes = b"") -> Switch:
    """Make a switch with the configured virtual servers; all real servers count as healthy.

    `port_secret` is what full NAT's source ports depend on: random, where packets are real.
    """
    switch = Switch(settings(config.switch, port_secret))
    for table in config.virtual_server:
        switch.add_virtual_server(virtual_server(table, config.switch.hash_key))
    return switch


def settings(table: SwitchTable, port_secret: bytes = b"") -> Settings:
    """Return what holds for the whole switch."""
    return Settings(
        max_connections=table.max_connections,
        max_half_open_per_source=table.max_half_open_per_source,
        unknown_tcp=table.unknown_tcp,
        answers_per_second=AnswersPerSecond(**table.answers_per_second.model_dump()),
        timeouts={state: getattr(table.timeouts, state.name.lower()) for state in State},
        port_secret=port_secret,
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
        forward=table.forward,
        snat=table.snat,
        persistence=persistence(table),
        one_packet=table.one_packet,
    )


def persistence(table: VirtualServerTable) -> Persistence | None:
    """Return what remembers which client had which real server; None: nothing does."""
    if not table.persistence_timeout:
        return None
    return Persistence(table.persistence_timeout, table.persistence_prefix)


def health_checks(config: Config) -> dict[str, HealthCheck]:
    """Return how the real servers of each virtual server are probed, by its name.

    Those that are not probed at all are not among them.
    """
    checks = {each.name: health_check(each.health_check) for each in config.virtual_server}
    return {name: check for name, check in checks.items() if check is not None}


def health_check(table: schema.HealthCheckTable) -> HealthCheck | None:
    """Return how real servers are to be probed; None: not at all."""
    if table.kind == "none":
        return None
    return HealthCheck(
        table.kind,
        table.interval,
        table.timeout,
        table.rise,
        table.fall,
        table.port,
        table.path,
        table.expect_status,
        table.host,
        table.verify,
        table.ca_file,
    )


def host_names(config: Config) -> dict[IPAddress, str]:
    """Return the names of machines by address."""
    return {ip: name for name, addresses in config.hosts.items() for ip in addresses}
