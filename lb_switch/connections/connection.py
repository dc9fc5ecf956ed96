"""One connection: two flow keys, a path to a real server, a state, and what was counted.

A switch holds very many of them, so an entry is small: what connections have in common is shared
(`NatPath`), and what can be read off another field is a property.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lb_switch.chain import Link
from lb_switch.connections.tcp_state import ACTIVE, Direction, State
from lb_switch.packet.protocol import TCP, UDP
from lb_switch.tally import ONE_PACKET, Traffic

if TYPE_CHECKING:
    from lb_switch.connections.queues import Queue
    from lb_switch.nat.path import NatPath
    from lb_switch.nat.translation import Translation
    from lb_switch.servers import RealServer

NOTHING_ACKED = -1

ACK_UNITS = tuple(range(1 << 16))
"""The numbers 0 to 65,535, each made once: `ACK_UNITS[number >> 16]` is how an acknowledgement
number is kept, in units of 64 KiB.  An `int` of its own in each direction would be 64 bytes a
connection, and what it is kept for looks at distances of a MiB."""


class Connection(Link):
    """One client-to-server conversation.

    `original_key`  flow key of the packets from the client, as they arrive
    `reply_key`     flow key of the packets from the real server, as they arrive
    `path`          the real server, and the translations of the two directions
    `tally_to_server`, `tally_to_client`   packets and bytes seen, as tallies
    `acked_by_client`, `acked_by_server`   the last acknowledgement number each sent, in ACK_UNITS;
                    in SYN_RECV `acked_by_client` is the one that it is to send
    `last_seen`     when its last packet came; the deadline is that plus the state's timeout
    `queue`         the queue that it stands in, which is a timer wheel
    `before`, `behind`   its neighbours in the bucket where the queue will look at it next
    """

    __slots__ = (
        "acked_by_client",
        "acked_by_server",
        "last_seen",
        "original_key",
        "path",
        "queue",
        "reply_key",
        "state",
        "tally_to_client",
        "tally_to_server",
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
        self.queue: Queue | None = None
        self.tally_to_server = 0
        self.tally_to_client = 0
        self.acked_by_client = NOTHING_ACKED
        self.acked_by_server = NOTHING_ACKED

    def count(self, direction: Direction, length: int, now: float) -> None:
        """Count a packet of `length` bytes, and let the timeout start again."""
        tally = ONE_PACKET + length
        self.last_seen = now
        if direction is Direction.ORIGINAL:
            self.tally_to_server += tally
            self.real_server.tally_to_server += tally
        else:
            self.tally_to_client += tally
            self.real_server.tally_to_client += tally

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
    def is_over(self) -> bool:
        """Whether it was struck off: no timer waits for it any more."""
        return self.before is None

    def translation(self, direction: Direction) -> Translation:
        """Return what is rewritten in packets of this direction."""
        return self.path.to_server if direction is Direction.ORIGINAL else self.path.to_client

    @property
    def traffic_to_server(self) -> Traffic:
        """Packets and bytes from the client."""
        return Traffic.of(self.tally_to_server)

    @property
    def traffic_to_client(self) -> Traffic:
        """Packets and bytes from the real server."""
        return Traffic.of(self.tally_to_client)
