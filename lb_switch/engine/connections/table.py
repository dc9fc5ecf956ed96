"""The connection table: every connection under both of its flow keys.

It is many small dicts (shards) rather than one large one: a dict that outgrows itself is copied
in one go, and with millions of keys the packet that happens to trigger it would wait for a tenth
of a second.  The shard is picked by the *high* bits of the key's hash, since the dict inside uses
the low ones.  `bytes` hashes are keyed per process (SipHash), so nobody outside can aim at one
shard, and CPython keeps a key's hash, so that the dict does not compute it again.

Who may give way when the table is full is known to `lb_switch.engine.connections.queues`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.packet.flow_key import source_address
from lb_switch.engine.packet.protocol import TCP, UDP

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
        self.half_open = 0
        """How many connections are in SYN_RECV."""
        self._half_open_of: tuple[dict[bytes, int], ...] = ()
        if count_half_open_by_source:
            self._half_open_of = tuple({} for _ in range(SHARD_MASK + 1))
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
        half_open = connection.state is State.SYN_RECV
        if half_open:
            self._count_half_open(connection, 1)
        try:
            reply[reply_key] = connection
            if not reply_only:
                original[original_key] = connection
        except MemoryError:
            reply.pop(reply_key, None)
            if half_open:
                self._count_half_open(connection, -1)
            raise
        self._count += 1

    def remove(self, connection: Connection) -> None:
        """Take it out, whatever keys it has there.  It must be in the table."""
        protocol = connection.protocol
        original = self._shard(protocol, connection.original_key)
        if original.get(connection.original_key) is connection:
            del original[connection.original_key]
        del self._shard(protocol, connection.reply_key)[connection.reply_key]
        self._count -= 1
        if connection.state is State.SYN_RECV:
            self._count_half_open(connection, -1)

    def note_state(self, connection: Connection, old: State) -> None:
        """Note that its state was `old` until now."""
        was, half_open = old is State.SYN_RECV, connection.state is State.SYN_RECV
        if was != half_open:
            self._count_half_open(connection, half_open - was)

    def _count_half_open(self, connection: Connection, change: int) -> None:
        if self._half_open_of:
            source = source_address(connection.original_key)
            counts = self._half_open_of[hash(source) >> SHARD_SHIFT & SHARD_MASK]
            count = counts.get(source, 0) + change
            if count:
                counts[source] = count
            else:
                del counts[source]
        self.half_open += change

    def half_open_of(self, source: bytes) -> int:
        """How many connections of this source address are in SYN_RECV, if that is counted."""
        if not self._half_open_of:
            return 0
        return self._half_open_of[hash(source) >> SHARD_SHIFT & SHARD_MASK].get(source, 0)
