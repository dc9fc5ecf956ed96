"""TCP tracking: what a segment of a known connection does to its state.

The table of states is `connections.tcp_state`; here stands which segments count, which is decided
before it is looked up.  The rule: *a segment that its receiver refuses changes nothing that lasts*.
The receiver knows the exact numbers (RFC 9293, section 3.10.7.4; RFC 5961); the switch knows what
it acknowledged last, and sees what it says next:

* A RST closes if its sequence number is exactly what its receiver acknowledged last.  One ahead of
  that, as it comes behind data still under way, closes once the receiver acknowledges exactly so
  far.  Whoever guesses needs 2**32 tries.
* A FIN counts at once if its segment begins exactly there, else once it is acknowledged.
* A closed connection whose ends go on talking is open again: a RST's sender that sends something
  else, or an acknowledgement of what lies beyond the RST or the FIN, in a segment that begins
  exactly where the other side has acknowledged.
* A handshake is complete when the client acknowledges the real server's SYN, which who forges his
  source address does not see, and whose number is random (RFC 6528).
* A SYN inside a connection is refused by a real server that still has it.  One that has forgotten
  it takes the SYN, which begins a new connection, or refuses it with a RST, which closes this one:
  in both cases it acknowledges that very SYN (RFC 9293, section 3.10.7.1 and 2).
* A SYN/ACK in a closed connection that acknowledges none of the client's numbers begins another
  one, between the client and the real server itself, on the same ports.
* A segment without ACK is refused by every receiver.
* A damaged checksum changes no state.

Both roads come by here with every segment that may change a state.
"""

from __future__ import annotations

import struct

from lb_switch.engine.bookkeeping import Bookkeeping
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.queues import is_client_proved
from lb_switch.engine.connections.tcp_state import (
    REUSABLE,
    TABLE,
    WITHOUT_FIN,
    Direction,
    Segment,
    State,
)
from lb_switch.engine.connections.unsettled import EARLY_DATA, HANDSHAKE, Unsettled
from lb_switch.engine.packet.damage import segment_is_damaged
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.packet.tcp import ACK, FIN, RST, SYN

# Sequence number, acknowledgement number, data offset, flags.
_SEGMENT = struct.Struct("!4xIIBB").unpack_from

_LARGEST_WINDOW = 1 << 30
"""RFC 7323, section 2.3: nothing farther ahead of an acknowledgement can be under way."""
_EARLY_DATA = 1 << 16
"""Bytes a real server may send before its SYN is acknowledged, at the most: an unscaled window."""
_HALF = 1 << 31

_ORIGINAL, _REPLY = Direction.ORIGINAL, Direction.REPLY
_OTHER = (_REPLY, _ORIGINAL)
_SYN_RECV, _LAST_ACK, _CLOSE = State.SYN_RECV, State.LAST_ACK, State.CLOSE


class TCPTracker:
    """Follows the segments of the connections that stand in `books`."""

    __slots__ = ("_books",)

    def __init__(self, books: Bookkeeping) -> None:
        self._books = books

    def begin(self, connection: Connection, buffer: bytearray, l4: int) -> None:
        """Note what the SYN that opens a connection is to be acknowledged with."""
        connection.unsettled = HANDSHAKE
        connection.note_acked(_REPLY, _SEGMENT(buffer, l4)[0] + 1 & 0xFFFFFFFF)

    def follow(
        self,
        connection: Connection,
        to_server: bool,
        buffer: bytearray,
        l4: int,
        end: int,
        now: float,
        partial: bool,
    ) -> bool:
        """Bring the connection to the state that follows from the segment `buffer[l4:end]`.

        `to_server` says that it came from the client, `partial` that its checksum cannot be
        verified.  Return False for a RST that does not count, or not yet.
        """
        sequence, acknowledged, offset, flags = _SEGMENT(buffer, l4)
        sender = _ORIGINAL if to_server else _REPLY
        if flags & RST:
            refusal = flags & ACK and sequence == 0
            if refusal and _answers_syn(connection, sender, acknowledged):
                if _is_damaged(connection, sender, buffer, l4, end, partial):
                    return False
                # Nothing takes this back: its real server has no such connection.
                connection.unsettled = Unsettled()
                self._change(connection, _CLOSE, now)
                return True
            if not self._reset_is_exact(connection, sender, sequence, acknowledged, flags):
                return False
            if _is_damaged(connection, sender, buffer, l4, end, partial):
                return False
            self._close(connection, sender, sequence, now)
            return True
        if connection.state is _SYN_RECV:
            if not _completes_handshake(connection, sender, sequence, acknowledged, flags):
                if flags & (SYN | FIN | ACK) == FIN | ACK and sender is _REPLY:
                    length = end - l4 - (offset >> 4) * 4
                    _note_early_fin(connection, sequence + length + 1 & 0xFFFFFFFF)
                return True
            if _is_damaged(connection, sender, buffer, l4, end, partial):
                return True
            if connection.unsettled in (HANDSHAKE, EARLY_DATA):
                connection.unsettled = None
            self._change(connection, TABLE[sender, Segment.ACK][_SYN_RECV], now)
        elif flags & SYN:
            if opens(flags):
                if to_server and connection.state not in REUSABLE:
                    _watched(connection).syn = sequence + 1 & 0xFFFFFFFF
            elif _answers_syn(connection, sender, acknowledged) and not _is_damaged(
                connection, sender, buffer, l4, end, partial
            ):
                self._books.begin_again(connection, now)
                connection.note_acked(_REPLY, acknowledged)
                _completes_handshake(connection, sender, sequence, acknowledged, flags)
            return True
        elif not flags & ACK:
            return True
        connection.note_acked(sender, acknowledged)
        if connection.unsettled is not None:
            self._watch(connection, connection.unsettled, sender, sequence, acknowledged, now)
        if flags & FIN and not _is_damaged(connection, sender, buffer, l4, end, partial):
            length = end - l4 - (offset >> 4) * 4
            self._fin(connection, sender, sequence, sequence + length + 1 & 0xFFFFFFFF, now)
        return True

    def begins_elsewhere(
        self, connection: Connection, buffer: bytearray, l4: int, end: int, partial: bool
    ) -> bool:
        """Whether a real server's segment is the beginning of a connection without the switch.

        The client's SYN went to the real server's own address, from ports that had this connection
        before: to the client that is another destination, so it may use them again at once.
        """
        if connection.state not in REUSABLE:
            return False
        _, acknowledged, _, flags = _SEGMENT(buffer, l4)
        if flags & (SYN | ACK | RST) != SYN | ACK:
            return False
        if _answers_syn(connection, _REPLY, acknowledged):
            return False
        acked = connection.acked_by(_REPLY)
        # A late one of this connection acknowledges its SYN, so no more than was sent since.
        late = acked is None or _ahead(acked, acknowledged) <= connection.traffic_to_server.bytes
        return not late and not _is_damaged(connection, _REPLY, buffer, l4, end, partial)

    def _fin(
        self, connection: Connection, sender: Direction, sequence: int, taken: int, now: float
    ) -> None:
        """Take a FIN in a segment that begins at `sequence`, or let it wait.

        `taken` is the acknowledgement number that covers it.
        """
        new = TABLE[sender, Segment.FIN][connection.state]
        if new is connection.state:
            return
        acked = connection.acked_by(_OTHER[sender])
        if acked is None or sequence == acked:
            _watched(connection).fins[sender] = taken
            self._change(connection, new, now)
        elif _ahead(taken, acked) <= _LARGEST_WINDOW:
            fins = _watched(connection).fins
            fins[sender] = _nearer(fins[sender], taken, acked)

    def _watch(
        self,
        connection: Connection,
        unsettled: Unsettled,
        sender: Direction,
        sequence: int,
        acknowledged: int,
        now: float,
    ) -> None:
        """See what a segment tells of the FINs and RSTs that passed before it."""
        other = _OTHER[sender]
        if sender is _REPLY:
            unsettled.syn = None  # It has the connection still.
        # What takes something back must be sure to be its sender's, as a FIN or a RST must:
        # it continues exactly where the other side has acknowledged.
        closed_by = unsettled.closed_by
        if closed_by is not None:
            lies_beyond = 0 < _ahead(acknowledged, unsettled.closed_at) < _HALF
            if sequence != connection.acked_by(other) or not (closed_by is sender or lies_beyond):
                return
            unsettled.closed_by = None
            self._change(connection, unsettled.before, now)
        taken = unsettled.fins[other]
        if taken is not None:
            beyond = _ahead(acknowledged, taken)
            if beyond == 0:
                self._change(connection, TABLE[other, Segment.FIN][connection.state], now)
                if connection.state is _LAST_ACK:
                    self._change(connection, TABLE[sender, Segment.ACK][_LAST_ACK], now)
            elif beyond < _HALF and sequence == connection.acked_by(other):
                unsettled.fins[other] = None
                before = WITHOUT_FIN.get((other, connection.state))
                if before is not None:
                    self._change(connection, before, now)
        reset = unsettled.resets[other]
        if reset is not None:
            beyond = _ahead(acknowledged, reset)
            if beyond == 0:
                self._close(connection, other, reset, now)
            elif beyond < _HALF and sequence == connection.acked_by(other):
                unsettled.resets[other] = None
        if connection.state is State.ESTABLISHED and unsettled.nothing_left:
            connection.unsettled = None

    def _reset_is_exact(
        self,
        connection: Connection,
        sender: Direction,
        sequence: int,
        acknowledged: int,
        flags: int,
    ) -> bool:
        """Whether its receiver takes a RST now; one that lies ahead is kept in mind."""
        acked = connection.acked_by(_OTHER[sender])
        if connection.state is _SYN_RECV:
            # A real server refuses a SYN with a RST that acknowledges it (RFC 9293, 3.10.7.1).
            refuses = sender is _REPLY and flags & ACK
            return sequence == acked or bool(
                refuses and acknowledged == connection.acked_by(_REPLY)
            )
        if acked is None or sequence == acked:
            return True
        if connection.state not in REUSABLE and _ahead(sequence, acked) <= _LARGEST_WINDOW:
            resets = _watched(connection).resets
            resets[sender] = _nearer(resets[sender], sequence, acked)
        return False

    def _close(self, connection: Connection, sender: Direction, sequence: int, now: float) -> None:
        """Close by a RST, and remember how it was before."""
        if connection.state is not _CLOSE:
            if connection.state not in REUSABLE and connection.state is not _SYN_RECV:
                unsettled = _watched(connection)
                unsettled.closed_by, unsettled.closed_at = sender, sequence
                unsettled.before = connection.state
                unsettled.proved = is_client_proved(connection)
                unsettled.resets[sender] = None
            self._change(connection, TABLE[sender, Segment.RST][connection.state], now)

    def _change(self, connection: Connection, new: State, now: float) -> None:
        if new is not connection.state:
            connection.last_seen = now
            self._books.change_state(connection, new, now)


def opens(flags: int) -> bool:
    """Whether a segment asks for a new connection: SYN, without ACK or RST."""
    return flags & (SYN | ACK | RST) == SYN


def reuses_ports(flags: int, connection: Connection) -> bool:
    """Whether a client's segment opens a new connection on the ports of this closed one."""
    return connection.state in REUSABLE and opens(flags)


def _answers_syn(connection: Connection, sender: Direction, acknowledged: int) -> bool:
    """Whether a segment is the real server's, about the client's SYN inside this connection."""
    unsettled = connection.unsettled
    return sender is _REPLY and unsettled is not None and unsettled.syn == acknowledged


def _watched(connection: Connection) -> Unsettled:
    """Return what the connection is watched for; from now on it is."""
    if connection.unsettled is None:
        connection.unsettled = Unsettled()
    return connection.unsettled


def _completes_handshake(
    connection: Connection, sender: Direction, sequence: int, acknowledged: int, flags: int
) -> bool:
    """Whether a segment in SYN_RECV ends it; else only note what it tells of the numbers."""
    expected = connection.acked_by(_ORIGINAL)
    if sender is _REPLY:
        if flags & (SYN | ACK) == SYN | ACK:
            # One that answers another SYN is left from an older connection on these ports.
            asked = connection.acked_by(_REPLY)
            if asked is not None and _ahead(acknowledged, asked) <= _EARLY_DATA:
                connection.note_acked(_ORIGINAL, sequence + 1 & 0xFFFFFFFF)
                connection.note_acked(_REPLY, acknowledged)
                connection.unsettled = HANDSHAKE
        elif expected is not None and connection.unsettled is HANDSHAKE:
            connection.unsettled = EARLY_DATA
        return False
    if flags & SYN:
        if opens(flags):
            connection.note_acked(_REPLY, sequence + 1 & 0xFFFFFFFF)
        return False
    if expected is None or not flags & ACK:
        return False
    early = 0 if connection.unsettled is HANDSHAKE else _EARLY_DATA
    return _ahead(acknowledged, expected) <= early


def _note_early_fin(connection: Connection, taken: int) -> None:
    """Keep a FIN that comes with early data: the client acknowledges it with the handshake."""
    expected = connection.acked_by(_ORIGINAL)
    if expected is not None and 0 < _ahead(taken, expected) <= _EARLY_DATA:
        connection.unsettled = Unsettled()
        connection.unsettled.fins[_REPLY] = taken


def _is_damaged(
    connection: Connection,
    sender: Direction,
    buffer: bytearray,
    l4: int,
    end: int,
    partial: bool,
) -> bool:
    """Whether the checksum of a segment can be verified, and is wrong."""
    if partial:
        return False
    key = connection.original_key if sender is _ORIGINAL else connection.reply_key
    return segment_is_damaged(buffer, l4, end, key[:-4], TCP)


def _ahead(number: int, of: int) -> int:
    """How far a sequence number is ahead of another (modulo 2**32; RFC 9293, section 3.4)."""
    return number - of & 0xFFFFFFFF


def _nearer(one: int | None, other: int, to: int) -> int:
    """Return whichever number is less far ahead: what a stranger guesses seldom is."""
    return other if one is None or _ahead(other, to) < _ahead(one, to) else one
