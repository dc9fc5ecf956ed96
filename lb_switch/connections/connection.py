"""One connection: two flow keys, a real server, a state, and what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lb_switch.connections.tcp_state import ACTIVE, STEADY, Direction, State
from lb_switch.tally import ONE_PACKET, Traffic

if TYPE_CHECKING:
    from lb_switch.connections.timeouts import Bucket
    from lb_switch.nat.port_pool import PortPool
    from lb_switch.nat.translation import Translation
    from lb_switch.servers import RealServer

NOTHING_ACKED = -1


class Connection:
    """One client-to-server conversation.

    `original_key`  flow key of the packets from the client, as they arrive
    `reply_key`     flow key of the packets from the real server, as they arrive
    `to_server`, `to_client`   the translations of the two directions
    `tally_to_server`, `tally_to_client`   packets and bytes seen, as tallies
    `acked_by_client`, `acked_by_server`   the last acknowledgement number each sent (raw, 32 bits);
                    in SYN_RECV `acked_by_client` is the one that it is to send
    `last_seen`     when its last packet came; the deadline is that plus the state's timeout
    `bucket`        where the timer wheel will look at it next
    `steady`        whether its packets may take the short road
    `port_pool`     full NAT: where its source port goes back to in the end
    """

    __slots__ = (
        "acked_by_client",
        "acked_by_server",
        "bucket",
        "last_seen",
        "original_key",
        "port_pool",
        "protocol",
        "real_server",
        "reply_key",
        "state",
        "steady",
        "tally_to_client",
        "tally_to_server",
        "to_client",
        "to_server",
    )

    def __init__(
        self,
        protocol: int,
        original_key: bytes,
        reply_key: bytes,
        real_server: RealServer,
        to_server: Translation,
        to_client: Translation,
        state: State,
        now: float,
    ) -> None:
        self.protocol = protocol
        self.original_key = original_key
        self.reply_key = reply_key
        self.real_server = real_server
        self.to_server = to_server
        self.to_client = to_client
        self.state = state
        self.steady = state in STEADY
        self.last_seen = now
        self.bucket: Bucket | None = None
        self.port_pool: PortPool | None = None
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
    def active(self) -> bool:
        """Whether it counts as active: before its first FIN or RST."""
        return self.state in ACTIVE

    @property
    def traffic_to_server(self) -> Traffic:
        """Packets and bytes from the client."""
        return Traffic.of(self.tally_to_server)

    @property
    def traffic_to_client(self) -> Traffic:
        """Packets and bytes from the real server."""
        return Traffic.of(self.tally_to_client)
