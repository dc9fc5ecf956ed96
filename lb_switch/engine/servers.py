"""Virtual servers, their groups of real servers, and the table that matches a packet to one.

A *virtual server* is what clients see: VIP, port and protocol.  A *real server* is one machine's
service that stands behind it.  Both are plain state; schedulers, health checks and operators
change them only through the methods here, so that the tuple of usable servers is always true.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.engine.packet.flow_key import pack_endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.tally import Traffic, traffic_to_client, traffic_to_server

OnDown = Literal["reset", "reschedule", "keep"]
"""What happens to live connections of a real server that went down."""

Forward = Literal["nat", "full_nat"]
"""nat rewrites the destination; full_nat the source as well (one-arm)."""


class AdminState(enum.Enum):
    """What the operator wants of a real server."""

    READY = "ready"
    DRAIN = "drain"
    """Live connections go on, no new one arrives."""
    MAINT = "maint"
    """Out of service as if it were down."""


class RealServer:
    """One machine's service: RIP, port, weight, administrative state, health, accounting."""

    __slots__ = (
        "active",
        "admin_state",
        "connections_total",
        "endpoint",
        "healthy",
        "inactive",
        "packed",
        "path",
        "port_pools",
        "severed",
        "tally",
        "virtual_server",
        "weight",
    )

    def __init__(self, endpoint: Endpoint, weight: int = 1) -> None:
        self.endpoint = endpoint
        self.packed = pack_endpoint(endpoint)
        """RIP and port as flow keys have them."""
        self.weight = weight
        self.admin_state = AdminState.READY
        self.healthy = True
        self.severed = False
        """Whether its live connections are to end: it is out of service, and `on_down` says so."""
        self.virtual_server: VirtualServer | None = None
        self.path: object = None
        """For `bookkeeping`: what all its connections of plain NAT share, made for the first."""
        self.port_pools: tuple[Any, ...] = ()
        """For `source_ports`: where its connections of full NAT have their source ports from, one
        for each source address; others may share them.  Made for the first of the connections."""
        self.active = 0
        """Connections between their first packet and their first FIN or RST."""
        self.inactive = 0
        """Connections that are closing, or closed and remembered for late packets."""
        self.connections_total = 0
        self.tally = 0

    @property
    def traffic_to_server(self) -> Traffic:
        """Packets and bytes from clients, of all connections so far."""
        return traffic_to_server(self.tally)

    @property
    def traffic_to_client(self) -> Traffic:
        """Packets and bytes to clients, of all connections so far."""
        return traffic_to_client(self.tally)

    @property
    def usable(self) -> bool:
        """Whether the scheduler may give it a new connection."""
        return self.healthy and self.admin_state is AdminState.READY and self.weight > 0

    @property
    def in_service(self) -> bool:
        """Whether it can serve the connections it has."""
        return self.healthy and self.admin_state is not AdminState.MAINT

    @property
    def has_connections(self) -> bool:
        """Whether any connection in the table is its own."""
        return self.active + self.inactive > 0

    def __repr__(self) -> str:
        return f"<RealServer {self.endpoint} weight={self.weight}>"


Servers = tuple[RealServer, ...]
"""The usable servers of a group in configured order.

It is a tuple, and a new one whenever the group changes (a server, its weight, its state or its
health), so a scheduler may keep what it derived from the group for as long as the tuple `is` the
same object.  See `VirtualServer.usable_servers`.
"""


class Rule(enum.Enum):
    """By which rule a scheduler chooses; the facts that come with each stand behind it."""

    TURN = "turn"
    """position, usable, after (the last one chosen; empty: none yet)"""
    CURRENT_WEIGHT = "current_weight"
    """current_weights (by endpoint), weight, total_weight"""
    FEWEST_ACTIVE = "fewest_active"
    """active (by endpoint), equals (how many have as few)"""
    FEWEST_PER_WEIGHT = "fewest_per_weight"
    """active, weights (both by endpoint), equals"""
    HASH_SLOT = "hash_slot"
    """hash_on, hash (hexadecimal), slot, slots"""
    NEXT_INSTEAD = "next_instead"
    """instead_of (an endpoint), trouble (no_source_port or port_in_use)"""


Facts = Mapping[str, int | str | Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `choose` would pick now, and why: a rule, and the numbers behind it by name."""

    server: RealServer
    rule: Rule
    facts: Facts = field(default_factory=dict)


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


T = TypeVar("T")


class ClientMemory(Protocol[T]):
    """Bring a client back to the real server that it had: `scheduling.persistence`.

    `timeout` in seconds, `prefix_length` in bits.  What it remembers of a client is its own affair.
    """

    timeout: float
    prefix_length: int

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        ...

    def __iter__(self) -> Iterator[T]:
        """Yield what is remembered."""
        ...

    def recall(self, key: bytes, usable: Sequence[RealServer], now: float) -> RealServer | None:
        """Return the usable real server that the sender of this flow key had, or None."""
        ...

    def begin(self, key: bytes, real_server: RealServer, now: float) -> T:
        """Return what is remembered, for a connection of this flow key to the server it got."""
        ...

    def prove(self, remembered: T, now: float) -> None:
        """Note that a connection of this client has proved itself."""
        ...


class VirtualServer:
    """VIP, port, protocol, scheduler, and the group of real servers."""

    __slots__ = (
        "_departed",
        "addresses",
        "endpoint",
        "forward",
        "name",
        "on_down",
        "on_refresh",
        "one_packet",
        "persistence",
        "protocol",
        "real_servers",
        "scheduler",
        "snats",
        "usable_servers",
    )

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        protocol: int,
        scheduler: Scheduler,
        real_servers: Iterable[RealServer] = (),
        *,
        on_down: OnDown = "reset",
        forward: Forward = "nat",
        snat: IPAddress | Iterable[IPAddress] | None = None,
        persistence: ClientMemory[Any] | None = None,
        one_packet: bool = False,
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self.protocol = protocol
        self.scheduler = scheduler
        self.on_down = on_down
        self.forward = forward
        self.snats = _addresses(snat) or (endpoint.ip,)
        """Full NAT: the source addresses towards real servers; the VIP if none is given.  Each has
        ports of its own, so that more connections to one real server are possible."""
        self.persistence = persistence
        self.one_packet = one_packet
        """UDP: each datagram is scheduled on its own (IPVS's `--ops`)."""
        self.real_servers: list[RealServer] = []
        self.usable_servers: tuple[RealServer, ...] = ()
        """In configured order.  The same tuple object until the group changes, so that a
        scheduler can tell by identity whether what it derived from the group still holds."""
        self.addresses: frozenset[bytes] = frozenset()
        """The packed RIPs that packets of its connections may come from: those of its real
        servers, and of removed ones that had connections."""
        self.on_refresh: Callable[[VirtualServer], None] | None = None
        """Who is told whenever `refresh` was: the switch that serves it."""
        self._departed: dict[Endpoint, RealServer] = {}
        members = tuple(real_servers)
        if len({each.endpoint for each in members}) < len(members):
            raise ValueError(f"a real server is in {name} twice")
        for real_server in members:
            real_server.port_pools = ()
            real_server.virtual_server = self
        self.real_servers += members
        self.addresses = frozenset(each.endpoint.ip.packed for each in members)
        self.refresh()

    def add(self, real_server: RealServer) -> RealServer:
        """Put a real server into the group and return it.  Raises ValueError on a duplicate.

        One that was removed while it had connections comes back as the same object, with the
        weight, state and health of the new one, so that its accounts stay exact.
        """
        if self.find(real_server.endpoint) is not None:
            raise ValueError(f"{real_server.endpoint} is already in {self.name}")
        departed = self._departed.pop(real_server.endpoint, None)
        if departed is not None and departed.has_connections:
            departed.weight = real_server.weight
            departed.admin_state = real_server.admin_state
            departed.healthy = real_server.healthy
            real_server = departed
        if real_server.virtual_server is not self:
            real_server.port_pools = ()
        real_server.virtual_server = self
        self.real_servers.append(real_server)
        self.addresses |= {real_server.endpoint.ip.packed}
        self.refresh()
        return real_server

    def remove(self, real_server: RealServer) -> None:
        """Take it out of the group.  Its live connections go on and keep counting on it.

        (Those of one that is out of service as they did before: by `on_down`.)
        """
        self.real_servers.remove(real_server)
        self._departed = {
            endpoint: each for endpoint, each in self._departed.items() if each.has_connections
        }
        self._departed[real_server.endpoint] = real_server
        self.addresses = frozenset(
            each.endpoint.ip.packed for each in (*self.real_servers, *self._departed.values())
        )
        self.refresh()

    def end_lingering(self, real_server: RealServer) -> None:
        """Let the live connections of one that was removed end as if it were down, from now on.

        Unlike there `on_down` is not asked.  It changes nothing for one that came back meanwhile.
        """
        if real_server in self._departed.values():
            real_server.severed = True
            self.refresh()

    def configure(
        self, scheduler: Scheduler, on_down: OnDown, persistence: ClientMemory[Any] | None
    ) -> None:
        """Take another scheduler and other options."""
        self.scheduler, self.persistence = scheduler, persistence
        if on_down != self.on_down:
            self.on_down = on_down
            self.refresh()

    def order(self, real_servers: Iterable[RealServer]) -> None:
        """Bring the group into this order; all its real servers."""
        self.real_servers[:] = real_servers
        self.refresh()

    @property
    def lingering(self) -> tuple[RealServer, ...]:
        """Those that were removed from the group and have connections still."""
        return tuple(each for each in self._departed.values() if each.has_connections)

    @property
    def has_connections(self) -> bool:
        """Whether any real server, removed ones among them, has connections."""
        return any(each.has_connections for each in (*self.real_servers, *self._departed.values()))

    def find(self, endpoint: Endpoint) -> RealServer | None:
        """Return the real server at this endpoint, or None."""
        return next((rs for rs in self.real_servers if rs.endpoint == endpoint), None)

    def usable_after(self, real_server: RealServer, most: int) -> tuple[RealServer, ...]:
        """Return the usable servers that follow one of them, once round, `most` at the most."""
        place = self.usable_servers.index(real_server)
        return (self.usable_servers[place + 1 :] + self.usable_servers[:place])[:most]

    def refresh(self) -> None:
        """Bring what is derived up to date after a change of weight, state or health."""
        for real_server in self.real_servers:
            real_server.severed = not real_server.in_service and self.on_down != "keep"
        self.usable_servers = tuple(rs for rs in self.real_servers if rs.usable)
        if self.on_refresh is not None:
            self.on_refresh(self)

    def __repr__(self) -> str:
        return f"<VirtualServer {self.name} {PROTOCOL_NAMES[self.protocol]} {self.endpoint}>"


def _addresses(given: IPAddress | Iterable[IPAddress] | None) -> tuple[IPAddress, ...]:
    if given is None:
        return ()
    if isinstance(given, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return (given,)
    return tuple(given)
