"""Maglev hashing: the lookup table.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
section 3.4.  Every server has its own permutation of all slots of a table of prime size M,

    offset = hash1(name) mod M,  skip = hash2(name) mod (M - 1) + 1,
    permutation[j] = (offset + j * skip) mod M,

and the servers take turns: each takes the first slot of its permutation that is still free, until
none is.  So every server gets an almost equal number of slots, and when one leaves, the others
mostly find the slots free that they had before.

The paper leaves weights open ("by altering the relative frequency of the backends' turns").  Here
a server of weight w takes its k-th turn in round ceil(k * greatest weight / w): the heaviest takes
one in every round, a server of half its weight in every other.
"""

from __future__ import annotations

from collections.abc import Sequence

from lb_switch.engine.scheduling.key_hash import keyed_blake2b

TABLE_SIZE = 16_381
"""The greatest prime below 2**14.

The paper's rule is M > 100 * servers, which keeps servers of equal weight within 1 % of each
other: here up to 163 servers.  (The paper itself uses 65,537; IPVS 4,093.)  A larger table is
finer and moves fewer clients, but it is rebuilt in the packet path when a server's health changes:
about 5 ms for 10 servers and 6 ms for 100 with this size, five times as long with 65,537.
"""


def build_table(
    names: Sequence[bytes],
    weights: Sequence[int],
    hash_key: str = "",
    size: int = TABLE_SIZE,
) -> list[int]:
    """Return `size` (a prime) indices into `names`: the owner of every slot.

    The names' order decides who takes the first turn, so give them in an order that does not
    depend on the configuration.  Weights are positive.
    """
    positions, skips = _permutations(names, hash_key, size)
    table = [-1] * size
    free = size
    for owner in _turns(weights, size):
        slot = positions[owner]
        skip = skips[owner]
        while table[slot] >= 0:
            slot += skip
            if slot >= size:
                slot -= size
        table[slot] = owner
        positions[owner] = slot
        free -= 1
        if not free:
            break
    return table


def _permutations(names: Sequence[bytes], hash_key: str, size: int) -> tuple[list[int], list[int]]:
    """Return every name's offset and skip."""
    values = []
    for purpose in ("mh offset", "mh skip"):
        prototype = keyed_blake2b(hash_key, purpose)
        hashes = []
        for name in names:
            state = prototype.copy()
            state.update(name)
            hashes.append(int.from_bytes(state.digest(), "big"))
        values.append(hashes)
    offsets, skips = values
    return [value % size for value in offsets], [value % (size - 1) + 1 for value in skips]


def _turns(weights: Sequence[int], size: int) -> list[int]:
    """Return whose turn it is, one by one; at least `size` turns."""
    count = len(weights)
    greatest = max(weights)
    # After r rounds a server has had floor(r * weight / greatest) turns: all together at least
    # r * sum(weights) / greatest - count.
    rounds = -(-(size + count) * greatest // sum(weights))
    # One integer holds round and owner, so that one sort merges everybody's turns.
    turns = [
        -(-turn * greatest // weight) * count + owner
        for owner, weight in enumerate(weights)
        for turn in range(1, rounds * weight // greatest + 1)
    ]
    turns.sort()
    return [turn % count for turn in turns]
