"""`wrr`: weighted round robin, smooth.

A server of weight 5 beside two of weight 1 gets five of seven connections, but not five in a row:
a a b a c a a.  The rule is nginx's ("Upstream: smooth weighted round-robin balancing", commit
52327e0627f4, 2012; `ngx_http_upstream_get_peer` in ngx_http_upstream_round_robin.c):

    at each choice, add every server's weight to its current weight;
    choose the server whose current weight is greatest (the first of equals);
    subtract the sum of all weights from the chosen one's current weight.

The current weights always add up to zero after a choice, and all of them are back at zero after
as many choices as the weights' sum divided by their greatest common divisor: one cycle, in which
every server got exactly its share.

When a weight or the group changes, each server keeps what it is owed, in proportion to the sum of
the weights.  (Forgotten at each change, a small weight among large ones would never be served where
an operator or a program adjusts weights all the time.)
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from operator import add

from lb_switch.engine.servers import Explanation, RealServer, Rule, Servers

_UNIT = 1 << 16
"""What a weight of 1 counts, so that what is owed can be kept in proportion, in whole numbers."""


class WeightedRoundRobin:
    """Smooth weighted rotation: exact proportions over a cycle, interleaved.

    Ties go to whoever comes first in a ring that keeps its beginning while the group changes, so
    that with equal weights it is `rr`.  Costs O(servers), about 50 ns each.
    """

    name = "wrr"

    def __init__(self) -> None:
        self._cycle = _Cycle((), 0, ())

    def choose(self, key: bytes, servers: Servers) -> RealServer:  # noqa: ARG002
        """Return the server with the greatest current weight."""
        cycle = self._cycle = self._cycle_of(servers)
        current = cycle.raised()
        place = current.index(max(current))
        current[place] -= cycle.total
        cycle.current = current
        return cycle.ring[place]

    def explain(self, key: bytes, servers: Servers) -> Explanation:  # noqa: ARG002
        """Show the current weights that are compared."""
        cycle = self._cycle_of(servers)
        current = cycle.raised()
        greatest = max(current)
        server = cycle.ring[current.index(greatest)]
        return Explanation(
            server,
            Rule.CURRENT_WEIGHT,
            {
                "current_weights": {
                    str(each.endpoint): round(weight / _UNIT)
                    for each, weight in zip(cycle.ring, current, strict=True)
                },
                "weight": server.weight,
                "total_weight": cycle.total // _UNIT,
            },
        )

    def _cycle_of(self, servers: Servers) -> _Cycle:
        """Return the running cycle, or the one for a changed group (which is not stored)."""
        if servers is self._cycle.servers:
            return self._cycle
        return self._cycle.of(servers)


class _Cycle:
    """The current weights of one group, in the order in which ties are broken.

    `start` is the place in `servers` where that order begins; `owed` are the current weights to
    begin with, in the order of `servers`.
    """

    __slots__ = ("current", "ring", "servers", "total", "weights")

    def __init__(self, servers: Servers, start: int, owed: Sequence[int]) -> None:
        self.servers = servers
        self.ring = servers[start:] + servers[:start]
        self.weights = [server.weight * _UNIT for server in self.ring]
        self.total = sum(self.weights)
        self.current = [*owed[start:], *owed[:start]]

    def raised(self) -> list[int]:
        """Every current weight plus its server's weight."""
        return list(map(add, self.current, self.weights))

    def of(self, servers: Servers) -> _Cycle:
        """Return how it goes on with a changed group."""
        first = next((each for each in self.ring if each in servers), servers[0])
        return _Cycle(servers, servers.index(first), self._owed(servers))

    def _owed(self, servers: Servers) -> list[int]:
        """Return the current weights of a changed group, in its order.

        They grow or shrink as the sum of the weights does, and add up to zero again: what those
        that left were owed is shared out by weight.
        """
        total = sum(server.weight for server in servers) * _UNIT
        if not self.total:
            return [0] * len(servers)
        before = dict(zip(self.ring, self.current, strict=True))
        scaled = [Fraction(before.get(each, 0) * total, self.total) for each in servers]
        share = sum(scaled) * _UNIT / total
        # Rounded without a rest to one of them: equals must stay equal.
        return [
            round(owed - share * each.weight) for owed, each in zip(scaled, servers, strict=True)
        ]
