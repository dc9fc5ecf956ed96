"""Who an address is: the name of a machine, or the VIP."""

from __future__ import annotations

from lb_switch.explain.style import NO_BREAK
from lb_switch.stream.schema import Header, Record


class Who:
    """Knows the machines of a recording by name.  VIPs that appear later are learned (`learn`)."""

    def __init__(self, header: Header) -> None:
        self._hosts = header.hosts
        self._vips = {address_of(each.address) for each in header.virtual_servers}
        self._virtual_servers = {
            (each.protocol, each.address): each.name for each in header.virtual_servers
        }

    def learn(self, record: Record) -> None:
        """Note the VIP of a connection."""
        connection = getattr(record, "connection", None)
        if connection is not None:
            self._vips.add(address_of(connection.virtual))

    def is_vip(self, address: str) -> bool:
        """Whether an address (without port) is virtual."""
        return address in self._vips

    def name(self, place: str) -> str:
        """Return the name of an address or endpoint, or "" if it has none."""
        address = address_of(place)
        return "VIP" if address in self._vips else self._hosts.get(address, "")

    def called(self, place: str) -> str:
        """Return an address or endpoint with its name before it (a no-break space between)."""
        name = self.name(place)
        return f"{name}{NO_BREAK}{place}" if name else place

    def short(self, place: str) -> str:
        """Return the name alone, or the endpoint if there is none."""
        return self.name(place) or place


def address_of(place: str) -> str:
    """Return the address of an endpoint (`10.0.2.11:80`, `[2001:db8::11]:80`) or address."""
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place if place.count(":") > 1 else place.partition(":")[0]
