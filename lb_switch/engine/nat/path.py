"""The path of a connection's packets: to which real server, and what is rewritten each way.

Plain NAT rewrites only the virtual server's end, so all connections of one real server share one
path; with persistence, those of one client.  Full NAT rewrites the client's end as well, and each
connection has a path of its own.
"""

from __future__ import annotations

from lb_switch.engine.nat.port_pool import PortPool
from lb_switch.engine.nat.translation import Translation
from lb_switch.engine.packet.flow_key import reverse
from lb_switch.engine.scheduling.persistence import Template
from lb_switch.engine.servers import RealServer


class NatPath:
    """What the packets of a connection need to know of their way.

    `original_key` is a client's flow key, `reply_key` that of the answers it gets, both as they
    arrive at the switch.  `port_pool` is where full NAT's source port goes back to in the end,
    `template` what persistence remembers of the client.
    """

    __slots__ = ("port_pool", "real_server", "template", "to_client", "to_server")

    def __init__(
        self,
        real_server: RealServer,
        original_key: bytes,
        reply_key: bytes,
        port_pool: PortPool | None = None,
        template: Template | None = None,
    ) -> None:
        self.real_server = real_server
        self.to_server = Translation(original_key, reverse(reply_key))
        self.to_client = Translation(reply_key, reverse(original_key))
        self.port_pool = port_pool
        self.template = template

    def of_client(self, template: Template) -> NatPath:
        """Return the same path for the connections of one client that is remembered."""
        path = NatPath.__new__(NatPath)
        path.real_server = self.real_server
        path.to_server, path.to_client = self.to_server, self.to_client
        path.port_pool, path.template = None, template
        return path
