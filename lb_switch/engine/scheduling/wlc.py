"""`wlc`: weighted least connections.  The fewest active connections per weight."""

from __future__ import annotations

from lb_switch.engine.scheduling.rotation import Rotation
from lb_switch.engine.servers import Explanation, RealServer, Rule, Servers


class WeightedLeastConnections:
    """Least active connections divided by weight; equals take turns.

    a/v < b/w is compared as a*w < b*v: exact for any counts and weights, as IPVS does it
    (net/netfilter/ipvs/ip_vs_wlc.c).  Costs O(servers), about 60 ns each.
    """

    name = "wlc"

    def __init__(self) -> None:
        self._rotation = Rotation()

    def choose(self, key: bytes, servers: Servers) -> RealServer:  # noqa: ARG002
        """Return the server with the fewest active connections per weight."""
        position = self._least(servers)
        self._rotation.advance(servers, position)
        return servers[position]

    def explain(self, key: bytes, servers: Servers) -> Explanation:  # noqa: ARG002
        """Show the counts and weights that are compared."""
        server = servers[self._least(servers)]
        equals = sum(
            1 for each in servers if each.active * server.weight == server.active * each.weight
        )
        return Explanation(
            server,
            Rule.FEWEST_PER_WEIGHT,
            {
                "active": {str(each.endpoint): each.active for each in servers},
                "weights": {str(each.endpoint): each.weight for each in servers},
                "equals": equals,
            },
        )

    def _least(self, servers: Servers) -> int:
        start = position = self._rotation.position(servers)
        least = servers[start]
        active, weight = least.active, least.weight
        # Indices from `start` to the end come first, then, negative, those before it.
        for candidate in range(start + 1 - len(servers), start + 1):
            server = servers[candidate]
            if server.active * weight < active * server.weight:
                active, weight = server.active, server.weight
                position = candidate
        return position % len(servers)
