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
"""

from __future__ import annotations

from operator import add

from lb_switch.scheduling.interface import Explanation, Servers
from lb_switch.scheduling.rotation import Rotation
from lb_switch.servers import RealServer


class WeightedRoundRobin:
    """Smooth weighted rotation: exact proportions over a cycle, interleaved.

    A changed group starts a new cycle in which ties begin after the last chosen server, so that
    with equal weights it is `rr`.  Costs O(servers), about 50 ns each.
    """

    name = "wrr"

    def __init__(self) -> None:
        self._rotation = Rotation()
        self._cycle = _Cycle((), 0)

    def choose(self, key: bytes, servers: Servers) -> RealServer:  # noqa: ARG002
        """Return the server with the greatest current weight."""
        cycle = self._cycle = self._cycle_of(servers)
        current = cycle.raised()
        place = current.index(max(current))
        current[place] -= cycle.total
        cycle.current = current
        self._rotation.advance(servers, (cycle.start + place) % len(servers))
        return cycle.ring[place]

    def explain(self, key: bytes, servers: Servers) -> Explanation:  # noqa: ARG002
        """Show the current weights that are compared."""
        cycle = self._cycle_of(servers)
        current = cycle.raised()
        greatest = max(current)
        server = cycle.ring[current.index(greatest)]
        return Explanation(
            server,
            f"greatest current weight {greatest} "
            f"({server.weight} of the group's {cycle.total} connections are its share)",
            {
                "current_weights": {
                    str(each.endpoint): weight
                    for each, weight in zip(cycle.ring, current, strict=True)
                },
                "weight": server.weight,
                "total_weight": cycle.total,
            },
        )

    def _cycle_of(self, servers: Servers) -> _Cycle:
        """Return the running cycle, or a new one for a changed group (which is not stored)."""
        if servers is self._cycle.servers:
            return self._cycle
        return _Cycle(servers, self._rotation.position(servers))


class _Cycle:
    """The current weights of one group, in the order in which ties are broken."""

    __slots__ = ("current", "ring", "servers", "start", "total", "weights")

    def __init__(self, servers: Servers, start: int) -> None:
        self.servers = servers
        self.start = start
        self.ring = servers[start:] + servers[:start]
        self.weights = [server.weight for server in self.ring]
        self.total = sum(self.weights)
        self.current = [0] * len(servers)

    def raised(self) -> list[int]:
        """Every current weight plus its server's weight."""
        return list(map(add, self.current, self.weights))
