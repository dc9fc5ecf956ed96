"""TCP tracking: what a segment of a known connection does to its state.

The table of states is `lb_switch.connections.tcp_state`; here stands what has to be believed before
it is looked up, and what is remembered of acknowledgements for that.  Both roads come by here with
every segment that may change a state.
"""

from __future__ import annotations

import struct

from lb_switch.bookkeeping import Bookkeeping
from lb_switch.connections.connection import ACK_UNITS, NOTHING_ACKED, Connection
from lb_switch.connections.tcp_state import REUSABLE, TABLE, Direction, State, event_of
from lb_switch.packet.tcp import ACK, FIN, RST, SYN

RST_DISTANCE = 1 << 20
"""How far, in bytes, a RST's sequence number may be from what the other side last acknowledged, and
a handshake's acknowledgement from the SYN's number.  A blind attacker hits this window of the 2**32
numbers once in 2,048 tries; a window larger than 1 MiB of unacknowledged data merely leaves the
entry to its timeout.  Numbers are kept, and distances counted, in units of 64 KiB (`ACK_UNITS`)."""

# Sequence number, the upper half of the acknowledgement number, flags.
_SEGMENT = struct.Struct("!4xIH3xB").unpack_from
_FLAGS = FIN | SYN | RST | ACK
# The state table by flags, as the packet has them: (by flags)[flags & _FLAGS][old state].
_FROM_CLIENT, _FROM_SERVER = (
    tuple(TABLE[direction, event_of(flags)] for flags in range(_FLAGS + 1))
    for direction in Direction
)
_SYN_RECV = State.SYN_RECV


class TCPTracker:
    """Follows the segments of the connections that stand in `books`."""

    __slots__ = ("_books",)

    def __init__(self, books: Bookkeeping) -> None:
        self._books = books

    def follow(
        self, connection: Connection, to_server: bool, buffer: bytearray, l4: int, now: float
    ) -> None:
        """Bring the connection to the state that follows from the segment at `buffer[l4:]`.

        `to_server` says that it came from the client.  A RST is to be believed already.
        """
        sequence, acknowledged, flags = _SEGMENT(buffer, l4)
        old = connection.state
        if to_server:
            if (
                old is _SYN_RECV
                and not flags & RST
                and (flags & SYN or not _completes_handshake(flags, acknowledged, connection))
            ):
                return
            new = _FROM_CLIENT[flags & _FLAGS][old]
            if flags & (ACK | RST) == ACK:
                connection.acked_by_client = ACK_UNITS[acknowledged]
        else:
            new = _FROM_SERVER[flags & _FLAGS][old]
            if flags & (ACK | RST) == ACK:
                connection.acked_by_server = ACK_UNITS[acknowledged]
                if flags & SYN and new is _SYN_RECV:
                    # What the client is to acknowledge; it stands here until it does.
                    connection.acked_by_client = ACK_UNITS[(sequence + 1 & 0xFFFFFFFF) >> 16]
        if new is not old:
            connection.last_seen = now
            self._books.change_state(connection, new, now)


def opens(flags: int) -> bool:
    """Whether a segment asks for a new connection: SYN, without ACK or RST."""
    return flags & (SYN | ACK | RST) == SYN


def reuses_ports(flags: int, connection: Connection) -> bool:
    """Whether a client's segment opens a new connection on the ports of this closed one."""
    return connection.state in REUSABLE and opens(flags)


def _completes_handshake(flags: int, acknowledged: int, connection: Connection) -> bool:
    """Whether a client's segment acknowledges the real server's SYN (or data right behind it).

    Who forges his source address does not see that SYN, and its number is random (RFC 6528).
    """
    return bool(
        flags & ACK
        and connection.acked_by_client != NOTHING_ACKED
        and _near(acknowledged, connection.acked_by_client)
    )


def rst_is_credible(connection: Connection, to_server: bool, buffer: bytearray, l4: int) -> bool:
    """Whether a RST is near what the other side acknowledged last (compare RFC 5961, section 3).

    Before anything was acknowledged every RST counts, and a real server may refuse a SYN at any
    time: with a RST whose sequence number is zero.
    """
    if to_server:
        acked = connection.acked_by_server
    elif connection.state is _SYN_RECV:
        return True
    else:
        acked = connection.acked_by_client
    return acked == NOTHING_ACKED or _near(_SEGMENT(buffer, l4)[0] >> 16, acked)


def _near(number: int, acked: int) -> bool:
    """Whether two numbers in ACK_UNITS are within RST_DISTANCE of each other."""
    distance = (number - acked) & 0xFFFF
    return min(distance, 0x10000 - distance) <= RST_DISTANCE >> 16
