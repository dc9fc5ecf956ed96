"""One connection: two flow keys, a path to a real server, a state, and what was counted.

A switch holds very many of them, so an entry is small: what connections have in common is shared
(`NatPath`), and what can be read off another field is a property.
"""

from __future__ import annotations

from lb_switch.engine.chain import Link
from lb_switch.engine.connections.kind import QueueKind
from lb_switch.engine.connections.tcp_state import ACTIVE, Direction, State
from lb_switch.engine.connections.unsettled import Unsettled
from lb_switch.engine.nat.path import NatPath
from lb_switch.engine.nat.translation import Translation
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.servers import RealServer
from lb_switch.engine.tally import (
    TO_CLIENT,
    TO_SERVER,
    Traffic,
    traffic_to_client,
    traffic_to_server,
)

NOTHING_ACKED = -1
"""Stands in the upper half of an acknowledgement number where there was none yet."""

HALVES = tuple(range(1 << 16))
"""The numbers 0 to 65,535, each made once: `HALVES[number >> 16]` and `HALVES[number & 0xFFFF]` are
how an acknowledgement number is kept.  An `int` of its own in each direction would be 64 bytes a
connection."""


class Connection(Link):
    """One client-to-server conversation.

    `original_key`  flow key of the packets from the client, as they arrive
    `reply_key`     flow key of the packets from the real server, as they arrive
    `path`          the real server, and the translations of the two directions
    `tally`         packets and bytes seen in both directions
    `acked_by_client_high` and `_low`, `acked_by_server_high` and `_low`   the last acknowledgement
                    number each sent, in HALVES; in SYN_RECV the one that it is to send
    `unsettled`     what its opening or its end still waits for; None in between (and for UDP): then
                    no plain ACK changes anything, and its packets may take the short road
    `last_seen`     when its last packet came; the deadline is that plus the state's timeout
    `number`        by which listeners know it, counted from 1; 0: it was told of to nobody yet
    `kind`          which of the queues it stands in; None: in none yet
    `before`, `behind`   its neighbours in the bucket where the queue will look at it next
    """

    __slots__ = (
        "acked_by_client_high",
        "acked_by_client_low",
        "acked_by_server_high",
        "acked_by_server_low",
        "kind",
        "last_seen",
        "number",
        "original_key",
        "path",
        "reply_key",
        "state",
        "tally",
        "unsettled",
    )

    def __init__(
        self, original_key: bytes, reply_key: bytes, path: NatPath, state: State, now: float
    ) -> None:
        self.original_key = original_key
        self.reply_key = reply_key
        self.path = path
        self.state = state
        self.last_seen = now
        self.before: Link | None = None
        self.behind: Link | None = None
        self.kind: QueueKind | None = None
        self.number = 0
        self.tally = 0
        self.acked_by_client_high = NOTHING_ACKED
        self.acked_by_client_low = 0
        self.acked_by_server_high = NOTHING_ACKED
        self.acked_by_server_low = 0
        self.unsettled: Unsettled | None = None

    def count(self, direction: Direction, length: int, now: float) -> None:
        """Count a packet of `length` bytes, and let the timeout start again."""
        counted = (TO_SERVER if direction is Direction.ORIGINAL else TO_CLIENT)[length]
        self.last_seen = now
        self.tally += counted
        self.real_server.tally += counted

    def acked_by(self, direction: Direction) -> int | None:
        """Return the last acknowledgement number of the side that sends in `direction`.

        None if there was none yet.
        """
        if direction is Direction.ORIGINAL:
            high, low = self.acked_by_client_high, self.acked_by_client_low
        else:
            high, low = self.acked_by_server_high, self.acked_by_server_low
        return None if high == NOTHING_ACKED else high << 16 | low

    def note_acked(self, direction: Direction, number: int) -> None:
        """Keep an acknowledgement number of the side that sends in `direction`."""
        high, low = HALVES[number >> 16], HALVES[number & 0xFFFF]
        if direction is Direction.ORIGINAL:
            self.acked_by_client_high, self.acked_by_client_low = high, low
        else:
            self.acked_by_server_high, self.acked_by_server_low = high, low

    @property
    def protocol(self) -> int:
        """TCP or UDP."""
        return UDP if self.state is State.UDP else TCP

    @property
    def real_server(self) -> RealServer:
        """The real server, for the connection's whole life."""
        return self.path.real_server

    @property
    def active(self) -> bool:
        """Whether it counts as active: before its first FIN or RST."""
        return self.state in ACTIVE

    @property
    def answered(self) -> bool:
        """Whether the real server has sent anything."""
        return self.tally >= TO_CLIENT[0]

    @property
    def is_over(self) -> bool:
        """Whether it was removed: no timer waits for it any more."""
        return self.before is None

    def translation(self, direction: Direction) -> Translation:
        """Return what is rewritten in packets of this direction."""
        return self.path.to_server if direction is Direction.ORIGINAL else self.path.to_client

    @property
    def traffic_to_server(self) -> Traffic:
        """Packets and bytes from the client."""
        return traffic_to_server(self.tally)

    @property
    def traffic_to_client(self) -> Traffic:
        """Packets and bytes from the real server."""
        return traffic_to_client(self.tally)
