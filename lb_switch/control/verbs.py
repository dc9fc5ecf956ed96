"""What each request of the control protocol does to a running switch.

=====  ======================  ===================================================================
verb   what                    result
=====  ======================  ===================================================================
show   virtual_servers         one row per virtual server, with its real servers
show   connections             one row per connection; with `server` or `client` (a host, by its
                               name or address) only its own
show   health                  one row per real server: its health, and its last probe
show   probes                  one object: the process that probes
show   hosts                   one object: names of machines, by address
show   host                    one object: the process that looks after the host's rules, and what
                               is missing of them (`amiss`)
show   stats                   one object: packets by reason, what the capture lost (`capture`:
                               counts by kind), connections in the table, and
                               `pid`, by which one run of the switch is told from the next
=====  ======================  ===================================================================

`subscribe` turns the conversation into a stream: first everything that is, then every event, a
line each, in the words of `lb_switch.stream.schema`.  Its fields: `kinds`, a list of connections,
servers, probes and packets (all of them if missing); `keep`, how many bytes of a packet are told;
`most`, how many packets a second are told at the most (all if missing).

The verbs that change something are in `changes`.

Times are seconds, on the switch's clock; `expire` is how many are left.  Endpoints are text as in
the configuration.  Traffic counts packets and bytes of IP packets, headers included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lb_switch.control import places
from lb_switch.control.messages import RequestError
from lb_switch.control.places import Hosts
from lb_switch.control.subscription import Subscription
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.table import ConnectionTable
from lb_switch.engine.listeners import WHOLE, Interest
from lb_switch.engine.packet.flow_key import destination_endpoint, source_address, source_endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.stream.hub import Hub
from lb_switch.stream.schema import SNAP

if TYPE_CHECKING:
    from lb_switch.control.changes import Changes
    from lb_switch.health.checks import HealthChecks

Row = dict[str, Any]

_KINDS = ("connections", "servers", "probes", "packets")


class Verbs:
    """Do requests on `switch`, which began at `started`: seconds on the clock of its packets."""

    def __init__(
        self,
        switch: Switch,
        started: float,
        health: HealthChecks | None = None,
        changes: Changes | None = None,
        hosts: Callable[[], Hosts] = dict,
        hub: Hub | None = None,
        losses: Callable[[], dict[str, int]] = dict,
        host: Callable[[float], Row] = lambda _now: {"keeper": None, "amiss": []},
    ) -> None:
        self._switch = switch
        self._started = started
        self._hosts = hosts
        self._losses = losses
        self._verbs: dict[str, Callable[[Row, float], object]] = {"show": self._show}
        self._shows: dict[str, Callable[[float], object]] = {
            "virtual_servers": self._virtual_servers,
            "connections": lambda now: self._connections(None, None, now),
            "stats": self._stats,
            "hosts": self._host_names,
            "host": host,
        }
        self._hub = Hub(switch, lambda: self._host_names(0.0)) if hub is None else hub
        self._verbs["subscribe"] = self._subscribe
        if changes is not None:
            self._verbs |= changes.verbs
        if health is not None:
            self._shows |= {"health": health.rows, "probes": health.process_row}

    def __call__(self, request: Row, now: float) -> object:
        """Do one request, `verb` and the verb's own fields, at `now`.  Raises RequestError."""
        verb = self._verbs.get(request["verb"])
        if verb is None:
            raise RequestError(f"verb {request['verb']!r} is none of {', '.join(self._verbs)}")
        return verb(request, now)

    def _show(self, request: Row, now: float) -> object:
        what = request.get("what")
        if what == "connections":
            clients, servers = self._host(request, "client"), self._host(request, "server")
            return self._connections(clients, servers, now)
        show = self._shows.get(what) if isinstance(what, str) else None
        if show is None:
            raise RequestError(f"show: {what!r} is none of {', '.join(self._shows)}")
        return show(now)

    def _subscribe(self, request: Row, now: float) -> Subscription:
        kinds, keep = request.get("kinds", list(_KINDS)), request.get("keep", SNAP)
        if not isinstance(kinds, list) or not all(each in _KINDS for each in kinds):
            raise RequestError(f"subscribe: kinds is no list of {', '.join(_KINDS)}")
        if not isinstance(keep, int) or isinstance(keep, bool) or not 0 <= keep <= WHOLE:
            raise RequestError(f"subscribe: keep is no whole number from 0 to {WHOLE}")
        most = request.get("most", 0)
        if not isinstance(most, int) or isinstance(most, bool) or not 0 <= most < 1 << 31:
            raise RequestError("subscribe: most is no whole number of packets a second")
        unknown = sorted(request.keys() - {"version", "verb", "kinds", "keep", "most"})
        if unknown:
            raise RequestError(f"subscribe: unknown field {unknown[0]!r}")
        interest = Interest(
            connections="connections" in kinds,
            servers="servers" in kinds,
            probes="probes" in kinds,
            packets="packets" in kinds,
            keep=keep,
        )
        connections = _connections_shard_by_shard(self._switch.connections)
        return Subscription(self._hub, interest, connections, now, most)

    def _virtual_servers(self, _now: float) -> Iterator[Row]:
        return (_virtual_server_row(vs) for vs in list(self._switch.virtual_servers.values()))

    def _host(self, request: Row, field: str) -> frozenset[bytes] | None:
        """Return the packed addresses of the host that a field names; None: any."""
        word = request.get(field)
        if word is None:
            return None
        if not isinstance(word, str):
            raise RequestError(f"show: {field} is not a string")
        return frozenset(ip.packed for ip in places.host(word, self._hosts()))

    def _connections(
        self, clients: frozenset[bytes] | None, servers: frozenset[bytes] | None, now: float
    ) -> Iterator[Row]:
        timeouts = self._switch.settings.timeouts
        for connection in _connections_shard_by_shard(self._switch.connections):
            if clients is not None and source_address(connection.original_key) not in clients:
                continue
            if servers is not None and source_address(connection.reply_key) not in servers:
                continue
            deadline = connection.last_seen + timeouts[connection.state]
            yield _connection_row(connection, max(0.0, deadline - now))

    def _host_names(self, _now: float) -> Row:
        return {str(ip): name for name, addresses in self._hosts().items() for ip in addresses}

    def _stats(self, now: float) -> Row:
        switch = self._switch
        return {
            "time": now,
            "pid": os.getpid(),
            "uptime": round(now - self._started, 3),
            "connections": len(switch.connections),
            "half_open": switch.connections.half_open,
            "max_connections": switch.settings.max_connections,
            "packets": {reason.value: count for reason, count in switch.counters.items()},
            "capture": self._losses(),
        }


def _connections_shard_by_shard(table: ConnectionTable) -> Iterator[Connection]:
    """Yield each connection while the table goes on changing between two steps.

    Each shard is copied when its turn comes: connections that come or go meanwhile may or may not
    be among them, the others are, once.
    """
    for shards in table.shards.values():
        for shard in shards:
            for key, connection in list(shard.items()):
                if key == connection.reply_key:
                    yield connection


def _virtual_server_row(virtual_server: VirtualServer) -> Row:
    return {
        "name": virtual_server.name,
        "address": str(virtual_server.endpoint),
        "protocol": PROTOCOL_NAMES[virtual_server.protocol],
        "scheduler": virtual_server.scheduler.name,
        **_options(virtual_server),
        "real_servers": [_real_server_row(rs) for rs in virtual_server.real_servers],
    }


def _options(virtual_server: VirtualServer) -> Row:
    persistence = virtual_server.persistence
    return {
        "persistence_timeout": 0.0 if persistence is None else persistence.timeout,
        "persistence_prefix": 0 if persistence is None else persistence.prefix_length,
        "one_packet": virtual_server.one_packet,
    }


def _real_server_row(real_server: RealServer) -> Row:
    virtual_server = real_server.virtual_server
    return {
        "address": str(real_server.endpoint),
        "forward": "nat" if virtual_server is None else virtual_server.forward,
        "weight": real_server.weight,
        "state": real_server.admin_state.value,
        "healthy": real_server.healthy,
        "active": real_server.active,
        "inactive": real_server.inactive,
        "connections": real_server.connections_total,
        "to_server": real_server.traffic_to_server._asdict(),
        "to_client": real_server.traffic_to_client._asdict(),
    }


def _connection_row(connection: Connection, expire: float) -> Row:
    virtual_server = connection.real_server.virtual_server
    return {
        "protocol": PROTOCOL_NAMES[connection.protocol],
        "expire": round(expire, 3),
        "state": connection.state.name,
        "source": str(source_endpoint(connection.original_key)),
        "virtual": str(destination_endpoint(connection.original_key)),
        "destination": str(connection.real_server.endpoint),
        "virtual_server": None if virtual_server is None else virtual_server.name,
        "to_server": connection.traffic_to_server._asdict(),
        "to_client": connection.traffic_to_client._asdict(),
    }
