"""The beginning and the end of connections, so that all the books agree.

A connection stands in several books: the table (under two keys), a queue, the accounts of its real
server, and with full NAT in a pool of ports.  Only here is a connection written into them or
removed from them, always from all.
"""

from __future__ import annotations

import contextlib

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.ended import (
    MOST,
    MOST_UNPROVED,
    SECONDS,
    SECONDS_UNPROVED,
    Ended,
)
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.queues import Queues, is_client_proved, kind_of
from lb_switch.engine.connections.source_ports import PortPoolExhaustedError, SourcePorts
from lb_switch.engine.connections.table import ConnectionTable, KeyClashError, TableFullError
from lb_switch.engine.connections.tcp_state import ACTIVE, REUSABLE, State
from lb_switch.engine.events import Cause, ConnectionEvent, ConnectionStage
from lb_switch.engine.listeners import Listeners
from lb_switch.engine.nat.path import NatPath
from lb_switch.engine.nat.port_pool import PortPool
from lb_switch.engine.packet.flow_key import source_address
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.persistence import Template
from lb_switch.engine.servers import RealServer, VirtualServer

__all__ = ["Bookkeeping", "PortPoolExhaustedError"]

_LONG = (QueueKind.LASTING, QueueKind.PROVED)
"""Conversations whose ends are remembered apart from all that a flood makes."""


class Bookkeeping:
    """Open connections, change their state, forget them."""

    def __init__(
        self,
        connections: ConnectionTable,
        queues: Queues,
        snat_ports: tuple[int, int],
        port_secret: bytes,
        listeners: Listeners,
    ) -> None:
        self._connections = connections
        self._queues = queues
        queues.on_promotion = self._note_proof
        self._source_ports = SourcePorts(connections, snat_ports, port_secret, self._take_port)
        self._ended = {TCP: Ended(MOST, SECONDS), UDP: Ended(MOST, SECONDS_UNPROVED)}
        self._ended_early = {each: Ended(MOST_UNPROVED, SECONDS_UNPROVED) for each in (TCP, UDP)}
        self._listeners = listeners

    # -- the beginning ---------------------------------------------------------------------

    def open(
        self,
        protocol: int,
        key: bytes,
        virtual_server: VirtualServer,
        real_server: RealServer,
        state: State,
        now: float,
    ) -> Connection:
        """Decide the translation of a new connection and enter it into all books.

        `key` is its original flow key.  A datagram scheduled on its own whose answer would come
        back under a key that is there already, to the same client, needs no new one: that
        connection is returned.

        Raises KeyClashError, TableFullError or PortPoolExhaustedError, and then has changed
        nothing (but that others may have given way already).
        """
        rip, port = real_server.packed
        one_packet = virtual_server.one_packet and protocol == UDP
        pool: PortPool | None = None
        source_port = 0
        connection: Connection | None = None
        persistence = virtual_server.persistence
        template: Template | None = None
        if persistence is not None:
            template = persistence.begin(key, real_server, now)
        try:
            if virtual_server.forward == "full_nat":
                pool, source_port = self._source_ports.lease(
                    protocol, key, virtual_server, real_server, now
                )
                reply_key = pool.ends + source_port.to_bytes(2, "big")
                path = NatPath(real_server, key, reply_key, pool, template)
            else:
                reply_key = rip + source_address(key) + port + key[-4:-2]
                if one_packet:
                    known = self._connections.find(UDP, reply_key)
                    if known is not None and known.original_key == key:
                        return known
                shared = real_server.path
                if not isinstance(shared, NatPath):
                    shared = real_server.path = NatPath(real_server, key, reply_key)
                path = shared
                if template is not None:
                    if not isinstance(template.path, NatPath):
                        template.path = shared.of_client(template)
                    path = template.path
            connection = Connection(key, reply_key, path, state, now)
            self._insert(connection, now, reply_only=one_packet)
            self._queues.join(connection, now, one_packet=one_packet)
        except BaseException:  # memory may run out anywhere
            if connection is not None and self._stands(connection):
                self._connections.remove(connection)
                self._queues.leave(connection)
            if pool is not None:
                pool.release(source_port)
            if template is not None and not template.connections:
                template.path = None
            raise
        if template is not None:
            template.joined_by(connection, may_prove_it=protocol == UDP and not one_packet)
        real_server.active += 1
        real_server.connections_total += 1
        if self._listeners.connections is not None:
            self._listeners.connections(
                ConnectionEvent(now, ConnectionStage.OPENED, connection, None, state)
            )
        return connection

    def _stands(self, connection: Connection) -> bool:
        return self._connections.find(connection.protocol, connection.reply_key) is connection

    def _insert(self, connection: Connection, now: float, *, reply_only: bool) -> None:
        """Insert; a closed one with the same key gives way, and in a full table what may."""
        try:
            self._connections.insert(connection, reply_only=reply_only)
        except KeyClashError as clash:
            if clash.holder.state not in REUSABLE:
                raise
            self.forget(clash.holder, now, Cause.REPLY_KEY_NEEDED)
            self._insert(connection, now, reply_only=reply_only)
        except TableFullError:
            table = self._connections
            superfluous = self._queues.give_way(connection.protocol, now, table.max_connections)
            if superfluous is None:
                raise
            self._remove(superfluous, now, Cause.TABLE_FULL)
            self._insert(connection, now, reply_only=reply_only)

    # -- the middle ------------------------------------------------------------------------

    def begin_again(self, connection: Connection, now: float) -> None:
        """Let a new connection begin in SYN_RECV where this one ends: same ports, same real server.

        Nothing that the old one has proved holds for the new one.
        """
        old, real_server = connection.state, connection.real_server
        self._queues.leave(connection)
        if self._listeners.connections is not None:
            cause = Cause.TAKEN_ANEW
            self._listeners.connections(
                ConnectionEvent(now, ConnectionStage.CLOSED, connection, old, old, cause)
            )
        if old not in ACTIVE:
            real_server.inactive -= 1
            real_server.active += 1
        real_server.connections_total += 1
        connection.state = State.SYN_RECV
        connection.tally = 0
        connection.number = 0
        connection.unsettled = None
        connection.last_seen = now
        self._queues.join(connection, now)
        self._connections.note_state(connection, old)
        if self._listeners.connections is not None:
            self._listeners.connections(
                ConnectionEvent(now, ConnectionStage.OPENED, connection, None, connection.state)
            )

    def change_state(self, connection: Connection, new: State, now: float) -> None:
        """Bring a connection to another state, its deadline and the accounts with it."""
        old = connection.state
        connection.state = new
        change = (new in ACTIVE) - (old in ACTIVE)
        connection.real_server.active += change
        connection.real_server.inactive -= change
        self._queues.note_state(connection, old, now)
        if old is State.SYN_RECV or new is State.SYN_RECV:
            self._connections.note_state(connection, old)
            if connection.path.template is not None:
                self._note_proof(connection, now)
        if self._listeners.connections is not None:
            self._listeners.connections(
                ConnectionEvent(now, ConnectionStage.CHANGED, connection, old, new)
            )

    def _note_proof(self, connection: Connection, now: float) -> None:
        """Let persistence remember a client that has proved to be there."""
        template = connection.path.template
        group = connection.real_server.virtual_server
        if template is None or group is None or group.persistence is None:
            return
        if is_client_proved(connection):
            group.persistence.prove(template, now)

    def change_timeouts(self, timeouts: dict[State, float]) -> None:
        """Take other timeouts, in seconds by state."""
        self._queues.change_timeouts(timeouts)

    # -- the end ---------------------------------------------------------------------------

    def forget(self, connection: Connection, now: float, cause: Cause) -> None:
        """Remove a connection before its time.  `cause` is for whoever listens."""
        self._queues.leave(connection)
        self._remove(connection, now, cause)

    def forget_expired(self, now: float, limit: int) -> None:
        """Remove the connections whose time is up, after looking at `limit` at the most."""
        for connection in self._queues.expired(now, limit):
            self._remove(connection, now, Cause.TIMEOUT)

    def next_deadline(self) -> float | None:
        """When `forget_expired` has something to do."""
        return self._queues.next_deadline()

    def _remove(self, connection: Connection, now: float, cause: Cause) -> None:
        self._connections.remove(connection)
        if connection.state in ACTIVE:
            connection.real_server.active -= 1
        else:
            connection.real_server.inactive -= 1
        self._release_port(connection)
        if connection.state not in REUSABLE:
            self._note_end(connection, now)
        template = connection.path.template
        if template is not None:
            template.left_by(connection)
        if self._listeners.connections is not None:
            state = connection.state
            self._listeners.connections(
                ConnectionEvent(now, ConnectionStage.CLOSED, connection, state, state, cause)
            )

    def _note_end(self, connection: Connection, now: float) -> None:
        books = self._ended if kind_of(connection) in _LONG else self._ended_early
        # Without memory for it the packets of this one pass as they are.
        with contextlib.suppress(MemoryError):
            books[connection.protocol].note(connection.reply_key, now)

    def has_ended(self, protocol: int, reply_key: bytes, now: float, *, begins: bool) -> bool:
        """Whether a connection of this reply key has ended lately, without having been closed.

        `begins` says that the real server's packet is a SYN/ACK.
        """
        if begins:
            self._ended[protocol].forget(reply_key)
        books = (self._ended[protocol], self._ended_early[protocol])
        return any(each.has(reply_key, now) for each in books)

    def _take_port(self, connection: Connection, now: float) -> None:
        self.forget(connection, now, Cause.SOURCE_PORT_NEEDED)

    def _release_port(self, connection: Connection) -> None:
        pool = connection.path.port_pool
        if pool is not None:
            pool.release(int.from_bytes(connection.reply_key[-2:], "big"))
