"""What must always hold of the engine's state.

Tests check it after every step, and `run --check-invariants` now and then on the live switch.
"""

from __future__ import annotations

from collections import Counter

from lb_switch.engine.chain import Link
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import UDP_KINDS, kind_of
from lb_switch.engine.connections.tcp_state import ACTIVE, State
from lb_switch.engine.connections.unsettled import CUT
from lb_switch.engine.nat.port_pool import PortPool
from lb_switch.engine.packet.flow_key import FlowKey, reverse
from lb_switch.engine.packet.protocol import UDP
from lb_switch.engine.scheduling import persistence
from lb_switch.engine.scheduling.persistence import Template
from lb_switch.engine.servers import RealServer
from lb_switch.engine.switch import Switch

_LIVE = frozenset({QueueKind.MID_STREAM, QueueKind.GREETED, QueueKind.PROVED})
_KINDS_BY_STATE: dict[State, frozenset[QueueKind]] = {
    **dict.fromkeys(State, _LIVE),
    State.SYN_RECV: frozenset({QueueKind.HALF_OPEN}),
    State.TIME_WAIT: frozenset({QueueKind.CLOSED}),
    State.CLOSE: frozenset({QueueKind.CLOSED}),
    State.UDP: frozenset(UDP_KINDS),
}


class InvariantError(AssertionError):
    """Something that must always hold does not."""


def check_invariants(switch: Switch) -> None:
    """Walk the whole table.  Raises InvariantError with the first thing that is wrong."""
    table = switch.connections
    active: Counter[RealServer] = Counter()
    inactive: Counter[RealServer] = Counter()
    ports_out: dict[PortPool, set[int]] = {}
    queued: Counter[QueueKind] = Counter()
    remembered: Counter[Template] = Counter()
    count = half_open = number_of_keys = 0
    for connection in table:
        count += 1
        half_open += connection.state is State.SYN_RECV
        (active if connection.state in ACTIVE else inactive)[connection.real_server] += 1
        group = connection.real_server.virtual_server
        one_packet = group is not None and group.one_packet and connection.protocol == UDP
        keys = (
            (connection.reply_key,)
            if one_packet
            else (connection.original_key, connection.reply_key)
        )
        number_of_keys += len(keys)
        for key in keys:
            _require(
                table.find(connection.protocol, key) is connection,
                f"key {key.hex()} does not lead to its connection",
            )
        translated = FlowKey.of(reverse(connection.reply_key))
        rip = connection.real_server.endpoint
        _require(
            translated.destination == rip.ip.packed
            and int.from_bytes(translated.destination_port, "big") == rip.port,
            f"the reply key of {connection.original_key.hex()} is not that of {rip}",
        )
        template = connection.path.template
        if template is not None:
            remembered[template] += 1
            _require(
                template.real_server is connection.real_server,
                "a client's template names another real server than its connection",
            )
        if connection.path.port_pool is not None:
            ports = ports_out.setdefault(connection.path.port_pool, set())
            ports.add(int.from_bytes(connection.reply_key[-2:], "big"))
            _require(
                connection.reply_key[:-2] == connection.path.port_pool.ends,
                "its source port is of another pool",
            )
        _require(
            _is_linked(connection),
            "a connection without a timer",
        )
        _require(
            connection.unsettled is not None or connection.state in {State.ESTABLISHED, State.UDP},
            f"in {connection.state.name} and nothing is watched for",
        )
        _require(
            connection.unsettled is not CUT or connection.state is State.CLOSE,
            f"its client was cut off, but it is in {connection.state.name}",
        )
        kind = connection.kind
        assert kind is not None
        queued[kind] += 1
        _require(
            kind in _KINDS_BY_STATE[connection.state]
            and (kind is QueueKind.ONE_PACKET) == one_packet
            # What it has proved since it was looked at may not be noted yet; less it cannot be.
            and kind <= kind_of(connection),
            f"a connection in {connection.state.name} stands among {kind.name}",
        )
    for group in switch.virtual_servers.values():
        for server in group.real_servers:
            for pool in server.port_pools:
                ports_out.setdefault(pool, set())
        if group.persistence is not None:
            _require(len(group.persistence) <= persistence.MAX_CLIENTS, "too many clients")
            for template in group.persistence:
                remembered.setdefault(template, 0)
    for template, number in remembered.items():
        _require(
            template.connections == number,
            f"a client counts {template.connections} connections, not {number}",
        )
    for pool, ports in ports_out.items():
        # Each is a connection's: reply keys are unique.
        _require(
            pool.in_use == len(ports), f"{pool.in_use} ports are out, {len(ports)} connections"
        )
        free = pool.given_back
        _require(
            len({*free, *ports}) == len(free) + len(ports), "a port came back twice, or is in use"
        )
    for queue in switch.queues.by_kind:
        _require(
            queue.length == queued[queue.kind],
            f"{queue.kind.name} says {queue.length}, and holds {queued[queue.kind]}",
        )
    held = sum(len(shard) for shards in table.shards.values() for shard in shards)
    _require(held == number_of_keys, f"{held} keys, but {count} connections have {number_of_keys}")
    _require(len(table) == count, f"the table says {len(table)}, and holds {count}")
    _require(table.half_open == half_open, f"{table.half_open} half open, not {half_open}")
    _require(count <= table.max_connections, f"{count} connections are over the bound")
    groups = switch.virtual_servers.values()
    # Those with connections may have been removed, or their virtual server.
    for server in {*active, *inactive, *(each for group in groups for each in group.real_servers)}:
        _require(
            (server.active, server.inactive) == (active[server], inactive[server]),
            f"{server.endpoint} counts {server.active} active and {server.inactive} inactive "
            f"connections; the table has {active[server]} and {inactive[server]}",
        )
    for virtual_server in groups:
        _require(
            virtual_server.usable_servers
            == tuple(server for server in virtual_server.real_servers if server.usable),
            f"{virtual_server.name}: usable_servers is out of date",
        )


def _is_linked(member: Link) -> bool:
    """Whether it is in a chain, and its neighbours know it."""
    before, behind = member.before, member.behind
    if before is None or behind is None:
        return False
    return before.behind is member and behind.before is member


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantError(otherwise)
