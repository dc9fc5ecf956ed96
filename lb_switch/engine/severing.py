"""`on_down = "reset"`: tell who waits for a real server that went out of service.

A client that has asked and waits sends nothing more, so that nothing it does can be answered by a
RST.  It is *challenged*: sent a segment whose sequence number it has acknowledged already, as a
keepalive is.  That is not acceptable to it, and whoever gets what he cannot accept answers with an
ACK that holds his exact numbers (RFC 9293, section 3.10.7.4; RFC 1122, section 4.2.3.6).  That ACK
comes to the switch like any other packet, and the RST that it is answered with is exact.

    challenge   at the transition, and again after REST seconds, PROBES times in all
    the end     who has not answered by then gets a RST with the number he acknowledged last

The real server may live (in maintenance, or slow to answer a probe): its socket must not stay.  It
gets a RST as soon as its number is known for sure, else a challenge; until it answers that, the
entry stays in CLOSE, watched for `CUT`.

Half-open connections get their RST without a challenge: their numbers are known.  Where the real
server has sent its FIN the client waits for nothing more, and is left alone.

The table is walked shard by shard, SLICE connections at a time and a pause between, for all real
servers that are out of service together.  One that comes back before their turn keeps them.
"""

from __future__ import annotations

from lb_switch.engine.bookkeeping import Bookkeeping
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.table import ConnectionTable
from lb_switch.engine.connections.tcp_state import REUSABLE, Direction, State
from lb_switch.engine.connections.unsettled import CUT
from lb_switch.engine.events import Cause, SentEvent
from lb_switch.engine.listeners import Listeners
from lb_switch.engine.nat import answers
from lb_switch.engine.packet.flow_key import reverse
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.packet.tcp import ACK, FIN, RST, SYN, TCPHeader
from lb_switch.engine.servers import RealServer, VirtualServer

SLICE = 50
"""Connections told in one go, with up to two packets each: a millisecond or two of work."""
LOOKS = 4000
"""Keys of the table looked at in one go; a shard is looked at whole."""
PAUSE = 0.005
"""Seconds between two slices: no more than 10,000 connections are told in a second."""
PROBES = 3
"""Challenges sent, at the most."""
REST = 1.0
"""Seconds until the next one: a round trip, and the longest that an ACK may be put off."""

_CLIENT, _SERVER = Direction.REPLY, Direction.ORIGINAL
"""Whom a packet of this direction reaches."""
_WAITING = frozenset({State.ESTABLISHED, State.CLOSE_WAIT})
_TOLD = _WAITING | {State.SYN_RECV}


class _Turn:
    """Where the connections of one real server stand.

    `round` counts from 1, `left` the shards not walked in it yet; with none left, the next round
    begins at `due`.
    """

    __slots__ = ("due", "left", "round")

    def __init__(self, left: int) -> None:
        self.round = 1
        self.left = left
        self.due = float("inf")


class Severing:
    """Walks `connections` for real servers out of service, and says what to send.

    `now` is the latest time that it was told, in seconds.
    """

    def __init__(
        self, connections: ConnectionTable, books: Bookkeeping, listeners: Listeners
    ) -> None:
        self.now = 0.0
        self._listeners = listeners
        self._shards = connections.shards[TCP]
        self._books = books
        self._at = 0
        """The next shard to walk."""
        self._turns: dict[RealServer, _Turn] = {}
        """Of the real servers out of service whose group says `reset`, finished ones among them."""
        self._walking: dict[RealServer, _Turn] = {}
        self._pending: list[Connection] = []
        """Those of the shard walked last who are still to be told."""
        self._packets: list[bytes] = []
        """Of the slice at hand."""
        self._resume = float("-inf")

    def review(self, virtual_server: VirtualServer) -> None:
        """Take notice of who in a group is out of service now, and who is back."""
        turns = self._turns
        if virtual_server.protocol != TCP:
            return
        for real_server, turn in list(turns.items()):
            if turn.round > PROBES and not real_server.has_connections:
                turns.pop(real_server)
                self._walking.pop(real_server, None)
        for real_server in (*virtual_server.real_servers, *virtual_server.lingering):
            if not (real_server.severed and virtual_server.on_down == "reset"):
                turns.pop(real_server, None)
                self._walking.pop(real_server, None)
            elif real_server not in turns and real_server.has_connections:
                if not self._walking:
                    self._resume = max(self._resume, self.now)
                turns[real_server] = self._walking[real_server] = _Turn(len(self._shards))

    # -- time ------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `run` should be called next; None while nobody is to be told."""
        if self._pending or self._walking:
            return self._resume
        due = min((turn.due for turn in self._turns.values()), default=float("inf"))
        return None if due == float("inf") else max(due, self._resume)

    def run(self, now: float) -> tuple[bytes, ...]:
        """Tell one slice of them; return the packets to send."""
        self.now = now
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return ()
        self._resume = now + PAUSE
        self._begin_rounds(now)
        pending = self._pending
        told = looks = 0
        while told < SLICE and looks < LOOKS:
            if pending:
                told += 1
                self._tell(pending.pop(), now)
            elif self._walking:
                looks += 1 + self._walk(now)
            else:
                break
        packets, self._packets = tuple(self._packets), []
        return packets

    def _begin_rounds(self, now: float) -> None:
        for real_server, turn in list(self._turns.items()):
            if turn.due <= now:
                if real_server.has_connections:
                    turn.round, turn.left, turn.due = turn.round + 1, len(self._shards), _NEVER
                    self._walking[real_server] = turn
                else:
                    del self._turns[real_server]

    def _walk(self, now: float) -> int:
        """Note whom the next shard holds; return how many keys it has."""
        walking = self._walking
        for real_server, turn in list(walking.items()):
            if not turn.left:
                # (All that the last shard held have been told.)
                del walking[real_server]
                if turn.round <= PROBES:
                    turn.due = now + REST
        if not walking:
            return 0
        shard = self._shards[self._at]
        self._at = (self._at + 1) % len(self._shards)
        for turn in walking.values():
            turn.left -= 1
        self._pending += [
            each
            for key, each in shard.items()
            if each.path.real_server in walking
            and key == each.original_key
            and (each.state in _TOLD or each.unsettled is CUT)
        ]
        return len(shard)

    # -- one connection --------------------------------------------------------------------

    def _tell(self, connection: Connection, now: float) -> None:
        turn = self._turns.get(connection.real_server)
        if turn is None or connection.is_over:
            return
        last = turn.round > PROBES
        if connection.unsettled is CUT:
            self._send(connection, _SERVER, (_reset if last else _challenge)(connection, _SERVER))
        elif connection.state is State.SYN_RECV:
            self._send(connection, _CLIENT, _refusal(connection))
            self._send(connection, _SERVER, _reset(connection, _SERVER))
            self._forget(connection, now)
        elif connection.state in _WAITING:
            if not last:
                self._send(connection, _CLIENT, _challenge(connection, _CLIENT))
                return
            self._send(connection, _CLIENT, _reset(connection, _CLIENT))
            self._send(connection, _SERVER, _reset(connection, _SERVER))
            self._watch(connection, now)

    def _send(self, connection: Connection, to: Direction, packet: bytes | None) -> None:
        if packet is None:
            return
        self._packets.append(packet)
        if self._listeners.packets is not None:
            group = connection.real_server.virtual_server
            self._listeners.packets(SentEvent(self.now, packet, group, connection, to))

    def cut(self, connection: Connection, packet: Packet, now: float) -> tuple[bytes, ...]:
        """End a connection whose client has just been told so, because of this packet of his.

        Return what is to be sent to the real server.
        """
        if connection.unsettled is CUT:
            return ()
        if connection.state in REUSABLE:
            self._forget(connection, now)
            return ()
        segment = TCPHeader(packet.buffer, packet.l4)
        number = segment.sequence
        if connection.state is State.SYN_RECV and segment.flags & (SYN | ACK) == SYN:
            number += 1
            plain = True
        else:
            plain = packet.l4 + segment.header_length == packet.end
            plain = plain and segment.flags & (SYN | FIN | ACK) == ACK
        if plain and number & 0xFFFFFFFF == connection.acked_by(_OTHER[_SERVER]):
            # It has acknowledged all that the client ever sent: there can be no other number.
            self._forget(connection, now)
            told = _reset(connection, _SERVER)
        else:
            self._watch(connection, now)
            told = _challenge(connection, _SERVER)
        return () if told is None else (told,)

    def _forget(self, connection: Connection, now: float) -> None:
        self._books.forget(connection, now, Cause.OUT_OF_SERVICE)

    def _watch(self, connection: Connection, now: float) -> None:
        """Keep an entry until its real server has been told, or says no more."""
        connection.unsettled = CUT
        connection.last_seen = now
        self._books.change_state(connection, State.CLOSE, now)


_NEVER = float("inf")
_OTHER = (Direction.REPLY, Direction.ORIGINAL)


def _key_to(connection: Connection, to: Direction) -> bytes:
    """Return the flow key of what reaches the client, or the real server, in this connection."""
    return reverse(connection.reply_key if to is _SERVER else connection.original_key)


def _challenge(connection: Connection, to: Direction) -> bytes | None:
    """Make what must be answered; None while nobody knows a number."""
    acked = connection.acked_by(_OTHER[to])
    if acked is None:
        return None
    numbers = acked - 1 & 0xFFFFFFFF, connection.acked_by(to) or 0
    return answers.segment(_key_to(connection, to), ACK, *numbers)


def _reset(connection: Connection, to: Direction) -> bytes | None:
    acked = connection.acked_by(_OTHER[to])
    return None if acked is None else answers.segment(_key_to(connection, to), RST, acked)


def _refusal(connection: Connection) -> bytes | None:
    """Refuse a client's SYN.  If the SYN/ACK has reached him, the sequence number counts."""
    sequence, acked = connection.acked_by(_SERVER), connection.acked_by(_CLIENT)
    if acked is None:
        return None
    return answers.segment(_key_to(connection, _CLIENT), RST | ACK, sequence or 0, acked)
