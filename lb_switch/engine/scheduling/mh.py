"""`mh`: Maglev hashing.  The same client gets the same real server, and few move on a change.

The table (see `maglev`) depends on the servers' addresses and weights and on `hash_key` alone, so
two switches with the same configuration, or one before and after a restart, agree about every
client: connections survive a fail-over between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lb_switch.engine.scheduling.key_hash import KeyHash
from lb_switch.engine.scheduling.maglev import TABLE_SIZE, build_table
from lb_switch.engine.servers import Explanation, RealServer, Rule, Servers


class Maglev:
    """Hash of the chosen key parts, looked up in a Maglev table.  Weights are respected.

    The table is built at the first choice after a change of the group (a few milliseconds; see
    `maglev.TABLE_SIZE`).  Raises ValueError if `hash_on` is empty or holds an unknown name.
    """

    name = "mh"

    def __init__(self, hash_on: Iterable[str] = ("src_ip",), hash_key: str = "") -> None:
        self._hash = KeyHash(hash_on, hash_key, "mh")
        self._hash_key = hash_key
        self._servers: Servers = ()
        self._table: list[RealServer] = []

    def choose(self, key: bytes, servers: Servers) -> RealServer:
        """Return the owner of the slot that the key hashes to."""
        if servers is not self._servers:
            self._build(servers)
        return self._table[self._hash(key) % TABLE_SIZE]

    def explain(self, key: bytes, servers: Servers) -> Explanation:
        """Show the hash, the slot and the server that owns it."""
        table = self.table(servers)
        hashed = self._hash(key)
        slot = hashed % TABLE_SIZE
        on = " ".join(self._hash.parts)
        return Explanation(
            table[slot],
            Rule.HASH_SLOT,
            {"hash_on": on, "hash": f"{hashed:016x}", "slot": slot, "slots": TABLE_SIZE},
        )

    def table(self, servers: Servers) -> Sequence[RealServer]:
        """Return the owner of every slot."""
        if servers is not self._servers:
            self._build(servers)  # derived from `servers` alone: no choice depends on when
        return self._table

    def _build(self, servers: Servers) -> None:
        ordered = sorted(servers, key=_by_address)
        owners = build_table(
            [str(server.endpoint).encode() for server in ordered],
            [server.weight for server in ordered],
            self._hash_key,
        )
        self._table = [ordered[owner] for owner in owners]
        self._servers = servers


def _by_address(server: RealServer) -> tuple[int, int, int]:
    endpoint = server.endpoint
    return endpoint.ip.version, int(endpoint.ip), endpoint.port
