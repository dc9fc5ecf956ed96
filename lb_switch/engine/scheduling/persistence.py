"""Persistence: a client comes back to the real server it had (IPVS's `-p` and `-M`).

It stands before the scheduler: a client, or all clients of a network, get the same real server, as
long as that one is usable.  A server that is drained, down or removed is never forced on anybody.

What is remembered of a client is a *template*, as IPVS calls it.  At first it is tentative, so that
a new client's further connections go where the first went; it is proved as soon as one of its
connections is (IPVS: assured).  TCP proves it by its handshake, UDP by two datagrams each way.

    tentative   `timeout` seconds from the latest packet that opened a connection
    proved      while any connection of the client is in the table, and `timeout` seconds from its
                latest connection that was proved

Templates are bounded, and an eighth is kept for the tentative ones, which anybody can fill: they
push out one another, the oldest first, and never a proved one.  Among the proved ones the one that
was away for longest is forgotten first; none is whose client has connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from lb_switch.engine.chain import Chain, Link, take_out
from lb_switch.engine.servers import RealServer
from lb_switch.engine.tally import ONE_PACKET, by_direction


class Counted(Protocol):
    """What is looked at of a connection."""

    tally: int


MAX_CLIENTS = 100_000
"""Clients remembered at the most."""
_TENTATIVE_SHIFT = 3
_LOOKS = 8
"""Templates looked at for one that can be forgotten."""
_SHARDS = 64
_SHARD_SHIFT = 50
_TWICE = 2 * ONE_PACKET


class Template(Link):
    """Which real server a client has.

    `connections`   how many of its connections to that server are in the table
    `until`         when it is forgotten, if there are none; seconds on the packets' clock
    `path`          for `bookkeeping`: of its connections by plain NAT; None while there is none
    `witness`       a conversation by UDP, which may have proved itself without being looked at
    """

    __slots__ = ("client", "connections", "path", "proved", "real_server", "until", "witness")

    def __init__(self, client: bytes, real_server: RealServer, until: float) -> None:
        super().__init__()
        self.client = client
        self.real_server = real_server
        self.until = until
        self.proved = False
        self.connections = 0
        self.path: object = None
        self.witness: Counted | None = None

    def joined_by(self, connection: Counted, *, may_prove_it: bool) -> None:
        """Count a connection; `may_prove_it` says that nobody tells when it has proved itself."""
        self.connections += 1
        if may_prove_it and not self.proved and self.witness is None:
            self.witness = connection

    def left_by(self, connection: Counted) -> None:
        """Count a connection no more: it left the table."""
        self.connections -= 1
        if self.witness is connection:
            self.witness = None
        if not self.connections:
            self.path = None

    @property
    def is_proved_by_now(self) -> bool:
        """Whether its witness has exchanged enough."""
        witness = self.witness
        return witness is not None and min(by_direction(witness.tally)) >= _TWICE


class _Templates:
    """Templates by client, at most one of each, in order.

    Many small dicts, as one large one is copied in one go when it outgrows itself: with 100,000
    clients a packet waited 18 ms for that.
    """

    def __init__(self) -> None:
        self.length = 0
        self._shards: tuple[dict[bytes, Template], ...] = tuple({} for _ in range(_SHARDS))
        self._chain: Chain[Template] = Chain()

    def __iter__(self) -> Iterator[Template]:
        for shard in self._shards:
            yield from shard.values()

    @property
    def first(self) -> Template | None:
        return self._chain.first

    def _shard(self, client: bytes) -> dict[bytes, Template]:
        return self._shards[hash(client) >> _SHARD_SHIFT & _SHARDS - 1]

    def get(self, client: bytes) -> Template | None:
        return self._shard(client).get(client)

    def put_last(self, template: Template) -> None:
        """Put it behind all others, in the place of another of its client."""
        shard = self._shard(template.client)
        other = shard.get(template.client)
        if other is not None:
            take_out(other)
            self.length -= 1
        shard[template.client] = template
        self._chain.append(template)
        self.length += 1

    def remove(self, template: Template) -> None:
        del self._shard(template.client)[template.client]
        take_out(template)
        self.length -= 1

    def remove_first(self) -> None:
        first = self._chain.first
        if first is not None:
            self.remove(first)


class Persistence:
    """Remember which client had which real server.

    `timeout` in seconds; `prefix_length` in bits: how much of an address makes one client (0: all
    of it).
    """

    def __init__(self, timeout: float, prefix_length: int = 0) -> None:
        self.timeout = timeout
        self.prefix_length = prefix_length
        self._tentative = _Templates()
        self._proved = _Templates()

    def __len__(self) -> int:
        return self._tentative.length + self._proved.length

    def __iter__(self) -> Iterator[Template]:
        """Yield what is remembered: the tentative first, then the proved."""
        yield from self._tentative
        yield from self._proved

    def recall(self, key: bytes, usable: Sequence[RealServer], now: float) -> RealServer | None:
        """Return the usable real server that the sender of this flow key had, or None."""
        template = self._find(self._client(key), usable, now)
        return None if template is None else template.real_server

    def begin(self, key: bytes, real_server: RealServer, now: float) -> Template:
        """Return the template for a connection of this flow key to the server it was given."""
        client = self._client(key)
        template = self._find(client, (real_server,), now)
        if template is not None and template.proved:
            return template
        if template is None:
            template = Template(client, real_server, now)
        template.until = now + self.timeout
        self._tentative.put_last(template)
        self._forget_old(now)
        return template

    def prove(self, template: Template, now: float) -> None:
        """Note that a connection of this template has proved itself.

        One that another server was given meanwhile stays out, if that one is still to be had.
        """
        client = template.client
        other = self._proved.get(client)
        if other is not None and other is not template:
            if self._is_alive(other, now) and other.real_server.usable:
                return
            other.proved = False
        if self._tentative.get(client) is template:
            self._tentative.remove(template)
        template.proved = True
        template.witness = None
        template.until = max(template.until, now + self.timeout)
        self._proved.put_last(template)
        if self._proved.length > _most_proved() and not self._makes_room(template):
            self._proved.remove(template)
            template.proved = False
            self._tentative.put_last(template)
        if len(self) > MAX_CLIENTS:
            self._tentative.remove_first()

    def _find(self, client: bytes, usable: Sequence[RealServer], now: float) -> Template | None:
        """Return what is remembered of a client, if it names a usable server."""
        waiting = self._tentative.get(client)
        if waiting is not None and waiting.is_proved_by_now:
            self.prove(waiting, now)
        for templates in (self._proved, self._tentative):
            template = templates.get(client)
            if (
                template is not None
                and template.real_server in usable
                and self._is_alive(template, now)
            ):
                return template
        return None

    @staticmethod
    def _is_alive(template: Template, now: float) -> bool:
        return template.until > now or (template.proved and template.connections > 0)

    def _forget_old(self, now: float) -> None:
        """Forget what is over, and tentative ones that are too many.

        One comes in at a time, so a few looks keep up and cost next to nothing.
        """
        for _ in range(_LOOKS):
            template = self._tentative.first
            if template is None:
                break
            if template.is_proved_by_now:
                self.prove(template, now)
            elif template.until <= now or len(self) > MAX_CLIENTS:
                self._tentative.remove(template)
            else:
                break
        if len(self) > MAX_CLIENTS:
            self._tentative.remove_first()
        for _ in range(2):
            template = self._proved.first
            if template is None or template.until > now:
                break
            self._pass_over(template, now)

    def _pass_over(self, template: Template, now: float) -> None:
        """Forget the first of the proved ones, or let it go behind all others if it is alive."""
        if self._is_alive(template, now):
            self._proved.put_last(template)
        else:
            self._proved.remove(template)

    def _makes_room(self, newest: Template) -> bool:
        """Forget a proved one whose client has no connections; those that have are passed over."""
        for _ in range(_LOOKS):
            template = self._proved.first
            assert template is not None
            if template is not newest and not template.connections:
                self._proved.remove(template)
                return True
            self._proved.put_last(template)
        return False

    def _client(self, key: bytes) -> bytes:
        size = (len(key) - 4) // 2
        address = key[:size]
        if not self.prefix_length or self.prefix_length >= size * 8:
            return address
        host_bits = size * 8 - self.prefix_length
        number = int.from_bytes(address, "big") >> host_bits
        return number.to_bytes(size, "big")


def _most_proved() -> int:
    return MAX_CLIENTS - (MAX_CLIENTS >> _TENTATIVE_SHIFT)
