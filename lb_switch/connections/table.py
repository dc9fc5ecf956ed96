"""The connection table: every connection under both of its flow keys.

It is many small dicts (shards) rather than one large one: a dict that outgrows itself is copied
in one go, and with millions of keys the packet that happens to trigger it would wait for a tenth
of a second.  The shard is picked by the *high* bits of the key's hash, since the dict inside uses
the low ones.  `bytes` hashes are keyed per process (SipHash), so nobody outside can aim at one
shard, and CPython keeps a key's hash, so that the dict does not compute it again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator

from lb_switch.connections.connection import Connection
from lb_switch.connections.tcp_state import State
from lb_switch.packet.protocol import TCP, UDP

SHARD_SHIFT = 55
SHARD_MASK = 511

Shards = tuple[dict[bytes, Connection], ...]


class KeyClashError(Exception):
    """Another connection holds one of the two keys; it is `holder`."""

    def __init__(self, holder: Connection) -> None:
        super().__init__("the flow key belongs to another connection")
        self.holder = holder


class TableFullError(Exception):
    """The table is at its bound, and nothing in it may be evicted."""


def _source(connection: Connection) -> bytes:
    key = connection.original_key
    return key[: (len(key) - 4) // 2]


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
        self._half_open: OrderedDict[Connection, None] = OrderedDict()
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

        Raises KeyClashError when one of the keys is taken, TableFullError at the bound.
        """
        if self._count >= self.max_connections:
            raise TableFullError
        protocol = connection.protocol
        original = self._shard(protocol, connection.original_key)
        reply = self._shard(protocol, connection.reply_key)
        holder = reply.get(connection.reply_key)
        if holder is None and not reply_only:
            holder = original.get(connection.original_key)
        if holder is not None:
            raise KeyClashError(holder)
        if not reply_only:
            original[connection.original_key] = connection
        reply[connection.reply_key] = connection
        self._count += 1
        if connection.state is State.SYN_RECV:
            self._half_open[connection] = None
            if self._half_open_of is not None:
                self._half_open_of[_source(connection)] += 1

    def remove(self, connection: Connection) -> None:
        """Take it out, whatever keys it has there.  It must be in the table."""
        protocol = connection.protocol
        original = self._shard(protocol, connection.original_key)
        if original.get(connection.original_key) is connection:
            del original[connection.original_key]
        del self._shard(protocol, connection.reply_key)[connection.reply_key]
        self._count -= 1
        self.no_longer_half_open(connection)

    def no_longer_half_open(self, connection: Connection) -> None:
        """Note that it left SYN_RECV: a flood of SYNs cannot evict it any more."""
        if connection in self._half_open:
            del self._half_open[connection]
            if self._half_open_of is not None:
                source = _source(connection)
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

    def oldest_half_open(self) -> Connection | None:
        """Return the connection that has been in SYN_RECV for longest: the first to give way."""
        return next(iter(self._half_open), None)
