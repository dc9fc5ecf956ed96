"""`rr`: round robin.  The usable servers take turns in configured order."""

from __future__ import annotations

from lb_switch.engine.scheduling.rotation import Rotation
from lb_switch.engine.servers import Explanation, RealServer, Rule, Servers


class RoundRobin:
    """Strict rotation.  Weights do not matter, except that weight 0 is not usable.

    When the group changes, it continues after the last chosen server in configured order.
    """

    name = "rr"

    def __init__(self) -> None:
        self._rotation = Rotation()

    def choose(self, key: bytes, servers: Servers) -> RealServer:  # noqa: ARG002
        """Return the server whose turn it is."""
        position = self._rotation.position(servers)
        self._rotation.advance(servers, position)
        return servers[position]

    def explain(self, key: bytes, servers: Servers) -> Explanation:  # noqa: ARG002
        """Say whose turn it is."""
        position = self._rotation.position(servers)
        last = self._rotation.last
        return Explanation(
            servers[position],
            Rule.TURN,
            {
                "position": position,
                "usable": len(servers),
                "after": str(last.endpoint) if last else "",
            },
        )
