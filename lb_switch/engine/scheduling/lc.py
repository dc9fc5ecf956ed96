"""`lc`: least connections.  The server with the fewest active connections gets the next one."""

from __future__ import annotations

from lb_switch.engine.scheduling.rotation import Rotation
from lb_switch.engine.servers import Explanation, RealServer, Rule, Servers


class LeastConnections:
    """Fewest active connections, whatever the weights; equals take turns.

    Costs O(servers), about 30 ns each.
    """

    name = "lc"

    def __init__(self) -> None:
        self._rotation = Rotation()

    def choose(self, key: bytes, servers: Servers) -> RealServer:  # noqa: ARG002
        """Return the server with the fewest active connections."""
        position = self._least(servers)
        self._rotation.advance(servers, position)
        return servers[position]

    def explain(self, key: bytes, servers: Servers) -> Explanation:  # noqa: ARG002
        """Show the counts that are compared."""
        server = servers[self._least(servers)]
        counts = {str(each.endpoint): each.active for each in servers}
        equals = sum(1 for count in counts.values() if count == server.active)
        return Explanation(
            server,
            Rule.FEWEST_ACTIVE,
            {"active": counts, "equals": equals},
        )

    def _least(self, servers: Servers) -> int:
        counts = [server.active for server in servers]
        fewest = min(counts)
        try:
            return counts.index(fewest, self._rotation.position(servers))
        except ValueError:
            return counts.index(fewest)
