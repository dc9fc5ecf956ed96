"""Persistence: a client comes back to the real server it had (IPVS's `-p` and `-M`).

It stands before the scheduler: within `timeout` seconds of its latest new connection a client, or
all clients of a network, get the same real server, as long as that one is usable.  A server that is
drained, down or removed is never forced on anybody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from lb_switch.servers import RealServer

MAX_CLIENTS = 100_000
"""Clients remembered at the most; the one that was away for longest is forgotten first."""


class _Template(NamedTuple):
    real_server: RealServer
    until: float


class Persistence:
    """Remember which client had which real server.

    `timeout` in seconds; `prefix_length` in bits: how much of an address makes one client (0: all
    of it).
    """

    def __init__(self, timeout: float, prefix_length: int = 0) -> None:
        self.timeout = timeout
        self.prefix_length = prefix_length
        self._templates: OrderedDict[bytes, _Template] = OrderedDict()

    def __len__(self) -> int:
        return len(self._templates)

    def recall(self, key: bytes, usable: Sequence[RealServer], now: float) -> RealServer | None:
        """Return the usable real server that the sender of this flow key had, or None."""
        template = self._templates.get(self._client(key))
        if template is None or template.until <= now or template.real_server not in usable:
            return None
        return template.real_server

    def remember(self, key: bytes, real_server: RealServer, now: float) -> None:
        """Note that the sender of this flow key was given this real server at `now`."""
        client = self._client(key)
        self._templates[client] = _Template(real_server, now + self.timeout)
        self._templates.move_to_end(client)
        self._forget_old(now)

    def _forget_old(self, now: float) -> None:
        # One comes in at a time, so looking at two keeps up and costs next to nothing.
        for _ in range(2):
            client, template = next(iter(self._templates.items()))
            if template.until > now and len(self._templates) <= MAX_CLIENTS:
                return
            if len(self._templates) == 1:
                return
            del self._templates[client]

    def _client(self, key: bytes) -> bytes:
        size = (len(key) - 4) // 2
        address = key[:size]
        if not self.prefix_length or self.prefix_length >= size * 8:
            return address
        host_bits = size * 8 - self.prefix_length
        number = int.from_bytes(address, "big") >> host_bits
        return number.to_bytes(size, "big")
