"""The connection table: every connection under both of its flow keys.

It is many small dicts (shards) rather than one large one: a dict that outgrows itself is copied
in one go, and with millions of keys the packet that happens to trigger it would wait for a tenth
of a second.  The shard is picked by the *high* bits of the key's hash, since the dict inside uses
the low ones.  `bytes` hashes are keyed per process (SipHash), so nobody outside can aim at one
shard, and CPython keeps a key's hash, so that the dict does not compute it again.

A full table knows what may give way to a newcomer, the oldest first:

    half-open     TCP in SYN_RECV: nobody has proved to be at that address
    closed        TCP in TIME_WAIT or CLOSE: kept only for late packets
    unanswered    UDP of which the real server has not answered a single datagram

A newcomer takes the place of its own kind first, so that a flood of datagrams does not push out
handshakes, nor a flood of SYNs questions.  All others stay, whatever comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lb_switch.connections.chain import Chain, Link, take_out
from lb_switch.connections.connection import Connection
from lb_switch.connections.tcp_state import REUSABLE, State
from lb_switch.packet.flow_key import source_address
from lb_switch.packet.protocol import TCP, UDP

SHARD_SHIFT = 55
SHARD_MASK = 511

Shards = tuple[dict[bytes, Connection], ...]


class KeyClashError(Exception):
    """Another connection holds one of the two keys; it is `holder`.

    Where the two keys are one, no packet would say which way it goes: `holder` is the newcomer.
    """

    def __init__(self, holder: Connection) -> None:
        super().__init__("the flow key belongs to another connection")
        self.holder = holder


class TableFullError(Exception):
    """The table is at its bound, and nothing in it may be evicted."""


def _shards() -> Shards:
    return tuple({} for _ in range(SHARD_MASK + 1))


class Place(Link):
    """A connection's place in a queue: only those that may give way need one."""

    __slots__ = ("connection", "queue")

    def __init__(self, connection: Connection, queue: Queue) -> None:
        # The queue's chain gives it its neighbours at once: the base class's None would be wasted.
        self.connection = connection
        self.queue = queue


class Queue:
    """Connections that may give way, in order of arrival."""

    def __init__(self) -> None:
        self._chain: Chain[Place] = Chain()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def oldest(self) -> Connection | None:
        """The connection that came first, or None."""
        first = self._chain.first
        return None if first is None else first.connection

    def join(self, connection: Connection) -> None:
        """Put a connection that is in no queue at the end."""
        connection.place = place = Place(connection, self)
        self._chain.append(place)
        self._length += 1

    def leave(self, connection: Connection) -> None:
        """Take out a connection that is in this queue."""
        assert connection.place is not None
        take_out(connection.place)
        connection.place = None
        self._length -= 1


class ConnectionTable:
    """Connections by protocol and flow key, at most `max_connections`.

    `count_half_open_by_source` keeps a count for each client address, for a limit on them.

    `shards` (by protocol) is open to the short road, which looks up
    `shards[protocol][hash(key) >> SHARD_SHIFT & SHARD_MASK]` itself.
    """

    def __init__(
        self, max_connections: int = 1_000_000, *, count_half_open_by_source: bool = False
    ) -> None:
        self.max_connections = max_connections
        self.shards: dict[int, Shards] = {TCP: _shards(), UDP: _shards()}
        self._half_open = Queue()
        self._closed = Queue()
        self._unanswered = Queue()
        """Answered ones are taken out when they are met: no packet has to do it."""
        self._half_open_of: Counter[bytes] | None = Counter() if count_half_open_by_source else None
        self._count = 0

    def __len__(self) -> int:
        """Return the number of connections (half the number of keys)."""
        return self._count

    def __iter__(self) -> Iterator[Connection]:
        """Yield each connection once.  Do not change the table meanwhile."""
        for shards in self.shards.values():
            for shard in shards:
                for key, connection in shard.items():
                    if key == connection.reply_key:
                        yield connection

    def _shard(self, protocol: int, key: bytes) -> dict[bytes, Connection]:
        return self.shards[protocol][hash(key) >> SHARD_SHIFT & SHARD_MASK]

    def find(self, protocol: int, key: bytes) -> Connection | None:
        """Return the connection that has this key, in either direction, or None."""
        return self.shards[protocol][hash(key) >> SHARD_SHIFT & SHARD_MASK].get(key)

    def insert(self, connection: Connection, *, reply_only: bool = False) -> None:
        """Put it in under both keys, or under neither.

        `reply_only` is for datagrams scheduled one by one: only the answers are looked up, since
        several real servers may be answering one and the same client socket.

        Raises KeyClashError when one of the keys is taken (or both are one), TableFullError at the
        bound.
        """
        protocol = connection.protocol
        original_key, reply_key = connection.original_key, connection.reply_key
        shards = self.shards[protocol]
        original = shards[hash(original_key) >> SHARD_SHIFT & SHARD_MASK]
        reply = shards[hash(reply_key) >> SHARD_SHIFT & SHARD_MASK]
        holder = reply.get(reply_key)
        if holder is None and not reply_only:
            holder = original.get(original_key)
        if holder is None and original_key == reply_key:
            holder = connection
        if holder is not None:
            raise KeyClashError(holder)
        if self._count >= self.max_connections:
            raise TableFullError
        if not reply_only:
            original[original_key] = connection
        reply[reply_key] = connection
        self._count += 1
        if connection.state is State.SYN_RECV:
            self._half_open.join(connection)
            if self._half_open_of is not None:
                self._half_open_of[source_address(connection.original_key)] += 1
        elif protocol == UDP:
            self._unanswered.join(connection)
            # One comes in at a time, so looking at two keeps up.
            for _ in range(2):
                self._drop_answered()

    def remove(self, connection: Connection) -> None:
        """Take it out, whatever keys it has there.  It must be in the table."""
        protocol = connection.protocol
        original = self._shard(protocol, connection.original_key)
        if original.get(connection.original_key) is connection:
            del original[connection.original_key]
        del self._shard(protocol, connection.reply_key)[connection.reply_key]
        self._count -= 1
        self._leave(connection)

    def note_state(self, connection: Connection) -> None:
        """Note that its state has changed, and with it whether it may give way."""
        place = connection.place
        reusable = connection.state in REUSABLE
        if place is not None and (place.queue is self._half_open or not reusable):
            self._leave(connection)
        if reusable and connection.place is None:
            self._closed.join(connection)

    def _leave(self, connection: Connection) -> None:
        """Take it out of the queue it is in, if it is in one."""
        place = connection.place
        if place is None:
            return
        place.queue.leave(connection)
        if place.queue is self._half_open and self._half_open_of is not None:
            source = source_address(connection.original_key)
            self._half_open_of[source] -= 1
            if not self._half_open_of[source]:
                del self._half_open_of[source]

    def half_open_of(self, source: bytes) -> int:
        """How many connections of this source address are in SYN_RECV, if that is counted."""
        return 0 if self._half_open_of is None else self._half_open_of[source]

    @property
    def half_open(self) -> int:
        """How many connections are in SYN_RECV."""
        return len(self._half_open)

    def first_to_give_way(self, protocol: int) -> Connection | None:
        """Return the one that a newcomer of this protocol may replace; None: all must stay."""
        half_open, closed = self._half_open.oldest, self._closed.oldest
        if protocol == TCP:
            return half_open or closed or self._oldest_unanswered()
        return self._oldest_unanswered() or closed or half_open

    def may_give_way(self, connection: Connection) -> bool:
        """Whether a newcomer could replace it, were it the oldest."""
        return connection.place is not None

    def _oldest_unanswered(self) -> Connection | None:
        while self._drop_answered():
            pass
        return self._unanswered.oldest

    def _drop_answered(self) -> bool:
        """Take the oldest out of the unanswered if it has an answer by now."""
        oldest = self._unanswered.oldest
        if oldest is None or not oldest.answered:
            return False
        self._unanswered.leave(oldest)
        return True
