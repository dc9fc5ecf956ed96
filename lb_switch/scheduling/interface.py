"""What a scheduler is: given a new connection's flow key, it picks one of the usable servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lb_switch.servers import RealServer

Servers = tuple[RealServer, ...]
"""The usable servers of a group in configured order.

It is a tuple, and a new one whenever the group changes (a server, its weight, its state or its
health), so a scheduler may keep what it derived from the group for as long as the tuple `is` the
same object.  See `VirtualServer.usable_servers`.
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `choose` would pick now, and why.  `str()` of it is one line."""

    server: RealServer
    why: str
    """A phrase that follows the server's endpoint: `next after 10.0.2.12:80`."""
    facts: Mapping[str, int | str | Mapping[str, int]] = field(default_factory=dict)
    """The numbers behind `why`, by name; counts per server are keyed by endpoint."""

    def __str__(self) -> str:
        return f"{self.server.endpoint}: {self.why}"


class Scheduler(Protocol):
    """Pick the real server of a new connection.  No I/O, no clock, no randomness."""

    name: str

    def choose(self, key: bytes, servers: Servers) -> RealServer:
        """Return one of `servers` (not empty; all usable; in configured order).

        `key` is the connection's original flow key: source address, destination address,
        source port, destination port in network order (12 bytes for IPv4, 36 for IPv6).
        """
        ...

    def explain(self, key: bytes, servers: Servers) -> Explanation:
        """Say what `choose` with the same arguments would pick now, and why.  Changes nothing."""
        ...
