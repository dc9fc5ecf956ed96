"""Source ports for full NAT: one pool for each pair of source address and real server.

The reply key of a full-NAT connection is real server -> (source address, port): the port is what
tells the connections of one real server apart, so the same port serves again for another one.

Ports are given out in an order that nobody outside can know (RFC 6056): each once, by a secret
permutation, and after that whichever came back first.  Whoever could guess the next port could
answer in the real server's name before it does.
"""

from __future__ import annotations

import hashlib
from array import array

FIRST_PORT = 1024
LAST_PORT = 65535
_ROUNDS = 4


class PortPool:
    """Ports `first` to `last`, each given out at most once at a time.

    `ends` is the reply key of the pool's connections without its last two bytes, the port.  Order
    depends on `secret`, on `ends` and on `protocol`.

    A port that comes back waits behind all others, so that late packets of the old connection
    meet the new one as seldom as can be.
    """

    __slots__ = (
        "__weakref__",
        "_first",
        "_free",
        "_half",
        "_head",
        "_ring",
        "_rounds",
        "_size",
        "_turn",
        "ends",
        "protocol",
    )

    def __init__(
        self,
        first: int = FIRST_PORT,
        last: int = LAST_PORT,
        *,
        secret: bytes = b"",
        ends: bytes = b"",
        protocol: int = 0,
    ) -> None:
        self.ends = ends
        self.protocol = protocol
        self._first = first
        self._size = last - first + 1
        bits = max(2, (self._size - 1).bit_length())
        self._half = (bits + 1) // 2
        """Bits in each half of what the permutation works on."""
        seed = len(secret).to_bytes(8, "big") + secret + bytes([protocol]) + ends
        self._rounds = hashlib.shake_256(seed).digest(_ROUNDS << self._half)
        # The ports that came back: `_free` of them from `_head` on, in a ring that has room for
        # each port that was ever given out, so that taking one back needs no memory.
        self._ring = array("H")
        self._head = 0
        self._free = 0
        self._turn = 0

    @property
    def in_use(self) -> int:
        """How many ports are given out."""
        return len(self._ring) - self._free

    @property
    def given_back(self) -> list[int]:
        """The ports that came back, in the order in which they will serve again."""
        return [self._ring[(self._head + n) % self._size] for n in range(self._free)]

    def allocate(self) -> int | None:
        """Return a port that nobody has, or None when all are in use."""
        ring = self._ring
        given_out = len(ring)
        if given_out < self._size:
            port = self._first + self._permuted(given_out)
            ring.append(0)
            return port
        if not self._free:
            return None
        port = ring[self._head]
        self._head = (self._head + 1) % self._size
        self._free -= 1
        return port

    def release(self, port: int) -> None:
        """Take back a port given out by `allocate`."""
        self._ring[(self._head + self._free) % self._size] = port
        self._free += 1

    def next_in_turn(self) -> bytes:
        """Return the reply key of another port each time, all of them in turn."""
        self._turn = (self._turn + 1) % self._size
        return self.ends + (self._first + self._turn).to_bytes(2, "big")

    def _permuted(self, number: int) -> int:
        """Return another number below `_size` for each: a Feistel network, its functions secret.

        What falls outside goes through again (Black and Rogaway, "Ciphers with arbitrary finite
        domains", CT-RSA 2002): less than four times in the mean.
        """
        half, rounds = self._half, self._rounds
        mask = (1 << half) - 1
        while True:
            left, right = number >> half, number & mask
            for function in range(0, _ROUNDS << half, 1 << half):
                left, right = right, left ^ (rounds[function + right] & mask)
            number = left << half | right
            if number < self._size:
                return number
