"""Full NAT: which source address and port a new connection gets, and whose, when all are in use.

A pool of ports is a second table that can be filled: so here, too, who has not proved enough gives
way.  A few connections are looked at, port by port in turn.  Of these one goes that is of the sort
which is met most often: as in a full table (`connections.queues`), whatever floods the
ports pushes out itself.  Of this sort it is the one that has been silent for longest.

    closed, half-open, unanswered
    answered, in mid-stream, one-packet
    conversing, greeted
    lasting

The proved ones keep their ports.

A closed connection's port may go at once: the real server, in TIME_WAIT, takes a SYN with a newer
number (RFC 9293, section 3.10.7.4; RFC 6191), as it does behind any NAT.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from weakref import WeakValueDictionary

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import kind_of
from lb_switch.engine.connections.table import ConnectionTable
from lb_switch.engine.nat.port_pool import PortPool
from lb_switch.engine.packet.flow_key import source_address
from lb_switch.engine.servers import RealServer, VirtualServer

AGREEING = 3
"""Ports looked at, where their holders are all of one sort."""
FEW = 8
"""Ports looked at, where one of them may be had."""
MOST = 32
"""Ports looked at otherwise."""


_SORT = {
    QueueKind.CLOSED: 0,
    QueueKind.HALF_OPEN: 0,
    QueueKind.UNANSWERED: 0,
    QueueKind.MID_STREAM: 1,
    QueueKind.ONE_PACKET: 1,
    QueueKind.ANSWERED: 1,
    QueueKind.CONVERSING: 2,
    QueueKind.GREETED: 2,
    QueueKind.LASTING: 3,
}


class PortPoolExhaustedError(Exception):
    """No source port is left towards this real server, and none may be taken from anybody."""


class SourcePorts:
    """The pools of all real servers.

    `ports` are the first and the last of each; `secret` is what their order depends on;
    `forget(connection)` removes one, and so gives its port back.
    """

    def __init__(
        self,
        connections: ConnectionTable,
        ports: tuple[int, int],
        secret: bytes,
        forget: Callable[[Connection, float], None],
    ) -> None:
        self._connections = connections
        self._ports = ports
        self._secret = secret
        self._forget = forget
        self._pools: WeakValueDictionary[tuple[int, bytes], PortPool] = WeakValueDictionary()
        """By protocol and `ends`.  Real servers and connections own them: what has neither any
        more is forgotten."""

    def lease(
        self,
        protocol: int,
        key: bytes,
        virtual_server: VirtualServer,
        real_server: RealServer,
        now: float,
    ) -> tuple[PortPool, int]:
        """Return a port that nobody has, and the pool it is from, for the client of this flow key.

        A client keeps to one source address while that has ports (RFC 4787, REQ-2).

        Raises PortPoolExhaustedError.
        """
        pools = real_server.port_pools
        if not pools:
            pools = real_server.port_pools = self._pools_of(protocol, virtual_server, real_server)
        if len(pools) > 1:
            first = zlib.crc32(source_address(key)) % len(pools)
            pools = pools[first:] + pools[:first]
        for pool in pools:
            port = pool.allocate()
            if port is not None:
                return pool, port
        looks = max(FEW, MOST // len(pools))
        for pool in pools:
            holder = self._least(pool, looks)
            if holder is not None:
                self._forget(holder, now)
                port = pool.allocate()
                if port is not None:
                    return pool, port
        raise PortPoolExhaustedError

    def _pools_of(
        self, protocol: int, virtual_server: VirtualServer, real_server: RealServer
    ) -> tuple[PortPool, ...]:
        rip, port = real_server.packed
        return tuple(
            self._pool(protocol, rip + snat.packed + port) for snat in virtual_server.snats
        )

    def _pool(self, protocol: int, ends: bytes) -> PortPool:
        pool = self._pools.get((protocol, ends))
        if pool is None:
            pool = self._pools[protocol, ends] = PortPool(
                *self._ports, secret=self._secret, ends=ends, protocol=protocol
            )
        return pool

    def _least(self, pool: PortPool, looks: int) -> Connection | None:
        """Return whose port may be taken, after so many looks at the most."""
        met: dict[int, list[Connection]] = {}
        for number in range(looks):
            if met and (number >= FEW or (number == AGREEING and len(met) == 1)):
                break
            holder = self._connections.find(pool.protocol, pool.next_in_turn())
            if holder is not None and holder.path.port_pool is pool:
                sort = _SORT.get(kind_of(holder))
                if sort is not None:
                    met.setdefault(sort, []).append(holder)
        if not met:
            return None
        # Of two sorts that are met equally often, the one that has proved less.
        most = max(met, key=lambda sort: (len(met[sort]), -sort))
        return min(met[most], key=lambda holder: holder.last_seen)
