"""Who may give way when the table is full: the connections in queues by kind, each a timer wheel.

Every connection stands in exactly one queue, in the order in which it was looked at last, and every
queue looks at its first ones when their time has come (`timeouts`).  A packet moves nothing: what a
connection has proved is read from its tallies when it is looked at.  The kinds stand in `kind`.

Of UDP nothing proves that a client is where its address says, so none of it is wholly safe.

When the table is full, the longest queue loses its first: whatever kind floods the table, it pushes
out itself once it has its share of the room that the proved ones leave, and every other kind keeps
what it has up to such a share.  (Longest-queue drop: Suter et al., "Buffer management schemes for
supporting TCP in gigabit routers with per-flow queueing", IEEE JSAC 1999.)  A lasting conversation
counts half, so that it has twice the share.  One that has proved more, or was used, since it was
last looked at is spared once (the second chance of the CLOCK algorithm).  All this takes `LOOKS`
looks at the most; then the one of these goes that has proved least and been silent longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.tcp_state import REUSABLE, State
from lb_switch.engine.connections.timeouts import TimerWheel
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.tally import ONE_PACKET, by_direction, traffic_to_client

LOOKS = 8
"""Connections looked at for one that gives way."""
UDP_RESERVE_SHIFT = 3
"""TCP takes no place of UDP's while UDP has an eighth of the table or less."""
_TWICE = 2 * ONE_PACKET
_THREE_TIMES = 3 * ONE_PACKET
_EIGHT_TIMES = 8 * ONE_PACKET
_LONGEST_HEADERS = 100
"""Bytes of IP and TCP headers that a real server's segment without data may have: a SYN/ACK, which
also answers a forged SYN, is no longer."""


_PROVED = QueueKind.PROVED
_HANDSHAKEN = (QueueKind.HALF_OPEN, QueueKind.GREETED)
_UDP = State.UDP
_BY_STATE = tuple(
    QueueKind.HALF_OPEN
    if state is State.SYN_RECV
    else QueueKind.CLOSED
    if state in REUSABLE
    else None
    for state in State
)
"""The kinds that follow from the state alone."""
UDP_KINDS = (
    QueueKind.UNANSWERED,
    QueueKind.ONE_PACKET,
    QueueKind.ANSWERED,
    QueueKind.CONVERSING,
    QueueKind.LASTING,
)
TCP_KINDS = (QueueKind.HALF_OPEN, QueueKind.CLOSED, QueueKind.MID_STREAM, QueueKind.GREETED)
_CLIENT_PROVED = frozenset(
    {QueueKind.CONVERSING, QueueKind.LASTING, QueueKind.GREETED, QueueKind.PROVED}
)
_SPARED_ONCE = frozenset(
    {QueueKind.MID_STREAM, QueueKind.GREETED, *UDP_KINDS} - {QueueKind.UNANSWERED}
)


class Queue(TimerWheel):
    """Connections of one kind."""

    def __init__(self, kind: QueueKind, timeouts: dict[State, float]) -> None:
        super().__init__(timeouts)
        self.kind = kind
        self.share = 2 if kind is QueueKind.LASTING else 1
        self.spares = kind in _SPARED_ONCE


class Queues:
    """All connections of a table, by kind.

    `timeouts` are seconds by state.
    """

    def __init__(self, timeouts: dict[State, float]) -> None:
        self.by_kind = tuple(Queue(kind, timeouts) for kind in QueueKind)
        own, others = (
            tuple(self.by_kind[kind] for kind in kinds) for kinds in (TCP_KINDS, UDP_KINDS)
        )
        self._for_tcp, self._for_udp = own + others, others + own
        self._tcp, self._udp = own, others
        self.on_promotion: Callable[[Connection, float], None] | None = None
        """Whom it is told, with the time, that a connection has proved more than was noted."""

    def change_timeouts(self, timeouts: dict[State, float]) -> None:
        """Take other timeouts; each connection learns of them when its bucket comes due."""
        for queue in self.by_kind:
            queue.change_timeouts(timeouts)

    # -- in and out ------------------------------------------------------------------------

    def join(self, connection: Connection, now: float, *, one_packet: bool = False) -> None:
        """Let a new connection stand where it belongs."""
        self._stand(connection, QueueKind.ONE_PACKET if one_packet else kind_of(connection), now)

    def _stand(self, connection: Connection, kind: QueueKind, now: float) -> None:
        connection.kind = kind
        self.by_kind[kind].arm(connection, now)

    def leave(self, connection: Connection) -> None:
        """Forget a connection, wherever it stands."""
        if connection.kind is not None:
            self.by_kind[connection.kind].disarm(connection)

    def note_state(self, connection: Connection, old: State, now: float) -> None:
        """Note that its state was `old` until now."""
        assert connection.kind is not None
        queue = self.by_kind[connection.kind]
        kind = kind_of(connection)
        if kind is queue.kind:
            queue.rearm(connection, old, now)
        else:
            queue.disarm(connection)
            self._stand(connection, kind, now)

    def _stand_again(self, connection: Connection, kind: QueueKind, now: float) -> None:
        """Let a connection that was looked at stand where it belongs by now."""
        promoted = connection.kind is not kind
        self._stand(connection, kind, now)
        if promoted and self.on_promotion is not None:
            self.on_promotion(connection, now)

    # -- time ------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `expired` should be called next; None while there is no connection."""
        soonest = None
        for queue in self.by_kind:
            due = queue.next_tick
            if due is not None and (soonest is None or due < soonest):
                soonest = due
        return None if soonest is None else TimerWheel.time_of(soonest)

    def expired(self, now: float, limit: int) -> Iterator[Connection]:
        """Yield connections whose deadline has passed, after looking at `limit` at the most.

        They stand in no queue any more.  Work that is left over stays due.
        """
        for queue in self.by_kind:
            for connection in queue.due(now, limit):
                limit -= 1
                if queue.deadline(connection) <= now:
                    yield connection
                else:
                    self._stand_again(connection, kind_of(connection), now)

    # -- a full table ----------------------------------------------------------------------

    def give_way(self, protocol: int, now: float, bound: int) -> Connection | None:
        """Take out the one whose place a newcomer of this protocol gets; None: all must stay.

        `bound` is how many connections the table may have.
        """
        least: Connection | None = None
        worth = (QueueKind.PROVED, 0.0)
        for _ in range(LOOKS):
            queue = self._longest(protocol, bound)
            connection = None if queue is None else queue.first
            if queue is None or connection is None:
                break
            kind = kind_of(connection)
            spared = kind is not queue.kind or (queue.spares and queue.first_was_used)
            queue.disarm(connection)
            if not spared or queue.deadline(connection) <= now:
                return connection
            self._stand_again(connection, kind, now)
            if (kind, connection.last_seen) < worth:
                least, worth = connection, (kind, connection.last_seen)
        if least is not None:
            self.leave(least)
        return least

    def _longest(self, protocol: int, bound: int) -> Queue | None:
        """Return the queue that is longest for its share; of equals one of this protocol."""
        queues = self._for_udp
        if protocol == TCP:
            in_use = sum(queue.length for queue in self._udp)
            queues = self._tcp if in_use <= bound >> UDP_RESERVE_SHIFT else self._for_tcp
        longest, most = None, 0.0
        for queue in queues:
            length = queue.length / queue.share
            if length > most:
                longest, most = queue, length
        return longest


def kind_of(connection: Connection) -> QueueKind:
    """Return what a connection is by now: by its state, its tallies, and where it stands."""
    state = connection.state
    kind = _BY_STATE[state]
    if kind is not None:
        return kind
    before = connection.kind
    if state is not _UDP:
        if before is _PROVED:
            return _PROVED
        if before in _HANDSHAKEN or (before is QueueKind.CLOSED and _was_proved(connection)):
            return _PROVED if _went_on(connection) else QueueKind.GREETED
        return _PROVED if _carries_data(connection) else QueueKind.MID_STREAM
    if before is QueueKind.ONE_PACKET:
        return before
    to_server, to_client = by_direction(connection.tally)
    if not to_client:
        return QueueKind.UNANSWERED
    exchanged = min(to_server, to_client)
    if exchanged < _TWICE:
        return QueueKind.ANSWERED
    return QueueKind.CONVERSING if exchanged < _EIGHT_TIMES else QueueKind.LASTING


def is_client_proved(connection: Connection) -> bool:
    """Whether there is someone at the client's address, as far as can be known."""
    return connection.kind in _CLIENT_PROVED


def _was_proved(connection: Connection) -> bool:
    """Whether a connection that comes back from CLOSE had proved its client before."""
    return connection.unsettled is not None and connection.unsettled.proved


def _went_on(connection: Connection) -> bool:
    """Whether both sides have sent something after the handshake."""
    to_server, to_client = by_direction(connection.tally)
    return to_server >= _THREE_TIMES and to_client >= _TWICE


def _carries_data(connection: Connection) -> bool:
    """Whether both sides have sent twice, and the real server data among it.

    It sends data only where its own handshake was completed.
    """
    if min(by_direction(connection.tally)) < _TWICE:
        return False
    packets, size = traffic_to_client(connection.tally)
    return size > packets * _LONGEST_HEADERS
