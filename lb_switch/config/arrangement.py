"""Which virtual servers a running switch has, as a value that can be planned and imposed.

An arrangement names the *objects* of the switch, so that whatever they hold beside their
configuration lives on: connections, counters, health, the scheduler's position.  Imposing the
arrangement from before a change takes the change back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lb_switch.config import build
from lb_switch.config.schema import Config, VirtualServerTable
from lb_switch.engine.changes import (
    AddRealServer,
    AddVirtualServer,
    Configure,
    OrderRealServers,
    OrderVirtualServers,
    RemoveRealServer,
    RemoveVirtualServer,
    SetWeight,
)
from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.engine.servers import ClientMemory, OnDown, RealServer, Scheduler, VirtualServer
from lb_switch.engine.switch import Switch

HASHING = frozenset({"sh", "mh"})
"""The schedulers that heed `hash_on` and `hash_key`."""


class ServerIdentity(NamedTuple):
    """What makes two virtual servers the same one.

    How packets are translated belongs to it: live connections go the old way to their end, with
    the host's rules it takes.  Another way is another virtual server in its place.
    """

    protocol: int
    endpoint: Endpoint
    forward: str
    snats: tuple[IPAddress, ...]
    one_packet: bool


class GroupArrangement(NamedTuple):
    """A virtual server and what is to be true of it."""

    virtual_server: VirtualServer
    name: str
    scheduler: Scheduler
    on_down: OnDown
    persistence: ClientMemory[Any] | None
    real_servers: tuple[RealServer, ...]
    weights: tuple[int, ...]


Arrangement = tuple[GroupArrangement, ...]
"""In configured order."""


def of(switch: Switch) -> Arrangement:
    """Return how the switch is arranged now."""
    return tuple(_group_of(each) for each in switch.virtual_servers.values())


def plan(
    before: Arrangement,
    old: Config,
    new: Config,
    departed: Mapping[ServerIdentity, VirtualServer],
) -> Arrangement:
    """Return the arrangement for configuration `new`; `before` is that of `old`.

    What does not change is the same object in both.  `departed` are virtual servers that were
    removed while they had connections: one that comes back is the same one again.
    """
    groups = {identity_of(group.virtual_server): group for group in before}
    tables = {_place(table): table for table in old.virtual_server}
    hashes_alike = old.switch.hash_key == new.switch.hash_key
    arrangement = []
    for table in new.virtual_server:
        place = _place(table)
        group, was = groups.get(place), tables.get(place)
        if group is not None and was == table and (hashes_alike or table.scheduler not in HASHING):
            arrangement.append(group)
            continue
        fresh = _group_of(build.virtual_server(table, new.switch.hash_key))
        if group is not None and was is not None:
            fresh = _kept(group, fresh, was, table, hashes_alike)
        elif place in departed:
            fresh = fresh._replace(virtual_server=departed[place])
        arrangement.append(fresh)
    return tuple(arrangement)


def impose(switch: Switch, before: Arrangement, after: Arrangement, now: float) -> None:
    """Make a switch that is arranged as `before` be arranged as `after`."""
    unchanged = set(map(id, before)) & set(map(id, after))
    wanted = {group.virtual_server: group.name for group in after}
    for group in before:
        virtual_server = group.virtual_server
        if wanted.get(virtual_server) != group.name:
            switch.change(RemoveVirtualServer(virtual_server), now)
        if virtual_server not in wanted:
            # Their connections go on; when it comes back, it finds them again.
            for real_server in list(virtual_server.real_servers):
                switch.change(RemoveRealServer(virtual_server, real_server), now)
    for group in after:
        if id(group) not in unchanged:
            _settle(switch, group, now)
    for group in after:
        if group.name not in switch.virtual_servers:
            switch.change(AddVirtualServer(group.virtual_server), now)
    names = tuple(group.name for group in after)
    if names != tuple(switch.virtual_servers):
        switch.change(OrderVirtualServers(names), now)


def host_part(
    arrangement: Iterable[GroupArrangement],
) -> frozenset[tuple[ServerIdentity, frozenset[Endpoint]]]:
    """Return what the host's rules depend on."""
    return frozenset(
        (
            identity_of(group.virtual_server),
            frozenset(real_server.endpoint for real_server in group.real_servers),
        )
        for group in arrangement
    )


def identity_of(virtual_server: VirtualServer) -> ServerIdentity:
    """Return what makes a virtual server this one."""
    return ServerIdentity(
        virtual_server.protocol,
        virtual_server.endpoint,
        virtual_server.forward,
        virtual_server.snats,
        virtual_server.one_packet,
    )


def _place(table: VirtualServerTable) -> ServerIdentity:
    return ServerIdentity(
        build.PROTOCOLS[table.protocol],
        table.address,
        table.forward,
        table.snat or (table.address.ip,),
        table.one_packet,
    )


def _group_of(virtual_server: VirtualServer) -> GroupArrangement:
    real_servers = tuple(virtual_server.real_servers)
    return GroupArrangement(
        virtual_server,
        virtual_server.name,
        virtual_server.scheduler,
        virtual_server.on_down,
        virtual_server.persistence,
        real_servers,
        tuple(real_server.weight for real_server in real_servers),
    )


def _kept(
    group: GroupArrangement,
    fresh: GroupArrangement,
    was: VirtualServerTable,
    table: VirtualServerTable,
    hashes_alike: bool,
) -> GroupArrangement:
    """Return `fresh` with all that the virtual server at that place keeps."""
    same_scheduler = was.scheduler == table.scheduler and (
        table.scheduler not in HASHING or (hashes_alike and was.hash_on == table.hash_on)
    )
    same_persistence = (was.persistence_timeout, was.persistence_prefix) == (
        table.persistence_timeout,
        table.persistence_prefix,
    )
    known = {real_server.endpoint: real_server for real_server in group.real_servers}
    return fresh._replace(
        virtual_server=group.virtual_server,
        scheduler=group.scheduler if same_scheduler else fresh.scheduler,
        persistence=group.persistence if same_persistence else fresh.persistence,
        real_servers=tuple(known.get(each.endpoint, each) for each in fresh.real_servers),
    )


def _settle(switch: Switch, group: GroupArrangement, now: float) -> None:
    """Make everything true of a virtual server that the group says."""
    virtual_server = group.virtual_server
    options = (group.name, group.scheduler, group.on_down, group.persistence)
    if options != (
        virtual_server.name,
        virtual_server.scheduler,
        virtual_server.on_down,
        virtual_server.persistence,
    ):
        switch.change(Configure(virtual_server, *options), now)
    wanted = {real_server.endpoint for real_server in group.real_servers}
    for real_server in list(virtual_server.real_servers):
        if real_server.endpoint not in wanted:
            switch.change(RemoveRealServer(virtual_server, real_server), now)
    for real_server in group.real_servers:
        if virtual_server.find(real_server.endpoint) is None:
            switch.change(AddRealServer(virtual_server, real_server), now)
    order = [_required(virtual_server, each.endpoint) for each in group.real_servers]
    if order != virtual_server.real_servers:
        switch.change(OrderRealServers(virtual_server, tuple(order)), now)
    for real_server, weight in zip(order, group.weights, strict=True):
        if real_server.weight != weight:
            switch.change(SetWeight(real_server, weight), now)


def _required(virtual_server: VirtualServer, endpoint: Endpoint) -> RealServer:
    real_server = virtual_server.find(endpoint)
    assert real_server is not None
    return real_server
