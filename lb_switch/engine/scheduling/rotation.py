"""A cursor into a group that keeps its place when the group changes."""

from __future__ import annotations

from lb_switch.engine.servers import RealServer, Servers


class Rotation:
    """Remembers who was chosen last, and so who is next in configured order.

    `rr` takes whoever is next; `wrr`, `lc` and `wlc` use it to break ties, so that equals take
    turns instead of the first one getting everything.
    """

    __slots__ = ("_next", "_servers")

    def __init__(self) -> None:
        self._servers: Servers = ()
        self._next = 0

    @property
    def last(self) -> RealServer | None:
        """Who was chosen last, or None before the first choice."""
        return self._servers[self._next - 1] if self._servers else None

    def position(self, servers: Servers) -> int:
        """Index in `servers` of the first one after the last chosen.  Changes nothing."""
        if servers is self._servers:
            return self._next
        return self._resume(servers)

    def advance(self, servers: Servers, chosen: int) -> None:
        """Note that `servers[chosen]` was chosen."""
        self._servers = servers
        self._next = chosen + 1 if chosen + 1 < len(servers) else 0

    def _resume(self, servers: Servers) -> int:
        """Find the place in a changed group."""
        last = self.last
        if last is None:
            return 0
        # The whole group, unusable servers included, knows the configured order best; a server
        # that was removed from it still has its place in the tuple it was chosen from.
        group = last.virtual_server.real_servers if last.virtual_server else ()
        order = tuple(group) if last in group else self._servers
        place = order.index(last)
        positions = {server: position for position, server in enumerate(servers)}
        for server in order[place + 1 :] + order[: place + 1]:
            if server in positions:
                return positions[server]
        return 0
