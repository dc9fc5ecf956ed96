"""Which virtual server a packet is for, and which addresses are the switch's own."""

from __future__ import annotations

from collections import Counter

from lb_switch.engine.packet.flow_key import pack_endpoint
from lb_switch.engine.packet.nobody import is_nobodys
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.servers import VirtualServer


class Directory:
    """The virtual servers there are, by name and by VIP, port and protocol."""

    def __init__(self) -> None:
        self.virtual_servers: dict[str, VirtualServer] = {}
        """By name, in configured order."""
        self.own_addresses: Counter[bytes] = Counter()
        """VIPs and source addresses of full NAT: what comes here is the switch's to decide."""
        self.host_addresses: frozenset[bytes] = frozenset()
        """Other addresses of this machine: nobody sends from there to a VIP."""
        self.served: dict[tuple[int, bytes, bytes], VirtualServer] = {}
        """By protocol, packed VIP and port."""
        self._retired: list[VirtualServer] = []
        """Removed ones that had connections when the last one was removed."""

    def add(self, virtual_server: VirtualServer) -> None:
        """Take it in.  Raises ValueError if name or endpoint is taken."""
        address, port = pack_endpoint(virtual_server.endpoint)
        where = (virtual_server.protocol, address, port)
        if virtual_server.name in self.virtual_servers:
            raise ValueError(f"there is a virtual server {virtual_server.name!r} already")
        if where in self.served:
            raise ValueError(f"{virtual_server.endpoint} belongs to {self.served[where].name}")
        self._retired = [each for each in self._retired if each is not virtual_server]
        self.virtual_servers[virtual_server.name] = virtual_server
        self.served[where] = virtual_server
        self.own_addresses.update((address, *(ip.packed for ip in virtual_server.snats)))

    def remove(self, virtual_server: VirtualServer) -> None:
        """Let go of it; its connections may live on."""
        address, port = pack_endpoint(virtual_server.endpoint)
        del self.virtual_servers[virtual_server.name]
        del self.served[virtual_server.protocol, address, port]
        self.own_addresses.subtract((address, *(ip.packed for ip in virtual_server.snats)))
        self.own_addresses += Counter()
        self._retired = [each for each in (*self._retired, virtual_server) if each.has_connections]

    def order(self, names: tuple[str, ...]) -> None:
        """Bring the virtual servers into this order; all their names."""
        for name in names:  # In place: others look at this very dict.
            self.virtual_servers[name] = self.virtual_servers.pop(name)

    def is_forged(self, source: bytes) -> bool:
        """Whether nobody who sends to a VIP can have this address (RFC 1122, section 3.2.1.3)."""
        return is_nobodys(source) or source in self.own_addresses or source in self.host_addresses

    def may_concern(self, packet: Packet) -> bool:
        """Whether a fragment may be part of a connection: to a VIP, or from a real server.

        That includes what was removed and has connections still.
        """
        source, destination = packet.source, packet.destination
        if destination in self.own_addresses:
            return True
        if any(source in each.addresses for each in self.virtual_servers.values()):
            return True
        return any(
            source in each.addresses
            or destination in {ip.packed for ip in (each.endpoint.ip, *each.snats)}
            for each in self._retired
        )
