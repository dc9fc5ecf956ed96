"""`sh`: source hashing.  The same client always gets the same real server.

Weights are respected, as in IPVS (net/netfilter/ipvs/ip_vs_sh.c): there each server fills as many
neighbouring buckets of a table as its weight says.  Here the table has exactly as many slots as
all weights together, so it needs no memory, and no server is left out however large the weights
are (IPVS has 256 buckets).  Two more differences: what is hashed is chosen with `hash_on`, and a
server that is not usable has no slots (IPVS refuses its clients unless told to fall back).

When the group changes, almost every client moves to another server; `mh` moves few.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from lb_switch.engine.scheduling.key_hash import KeyHash
from lb_switch.engine.servers import Explanation, RealServer, Rule, Servers


class SourceHash:
    """Hash of the chosen key parts, modulo the sum of weights.

    Raises ValueError if `hash_on` is empty or holds an unknown name.
    """

    name = "sh"

    def __init__(self, hash_on: Iterable[str] = ("src_ip",), hash_key: str = "") -> None:
        self._hash = KeyHash(hash_on, hash_key, "sh")
        self._servers: Servers = ()
        self._bounds: list[int] = []
        """Where each server's slots end: the running sums of the weights."""

    def choose(self, key: bytes, servers: Servers) -> RealServer:
        """Return the server whose slots the hash falls into."""
        if servers is not self._servers:
            self._servers = servers
            self._bounds = _bounds(servers)
        bounds = self._bounds
        return servers[bisect_right(bounds, self._hash(key) % bounds[-1])]

    def explain(self, key: bytes, servers: Servers) -> Explanation:
        """Show the hash, the slot and the server that owns it."""
        bounds = _bounds(servers)
        hashed = self._hash(key)
        slot = hashed % bounds[-1]
        on = " ".join(self._hash.parts)
        return Explanation(
            servers[bisect_right(bounds, slot)],
            Rule.HASH_SLOT,
            {"hash_on": on, "hash": f"{hashed:016x}", "slot": slot, "slots": bounds[-1]},
        )


def _bounds(servers: Servers) -> list[int]:
    return list(accumulate(server.weight for server in servers))
