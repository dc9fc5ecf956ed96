"""A translation: old endpoints to new endpoints, as plain data.

Everything that depends on the connection alone is computed once: where the new bytes go, what
they are, and by how much each checksum changes (`packet.checksum`).  Rewriting a packet
is then two slice assignments and two additions, by whoever holds the data: the readable road
(`nat.rewrite`), the short road, or one day something in the kernel.
"""

from __future__ import annotations

from lb_switch.engine.packet import checksum
from lb_switch.engine.packet.flow_key import FlowKey


class Translation:
    """Rewrite packets of the flow key `old` so that they have the flow key `new`.

    `addresses` replace the IP header's bytes from `addresses_at` (counted from the header's
    start) up to `addresses_end`; `ports` likewise, counted from the L4 header's start.  Only the
    contiguous part that changes is held; `ports` is empty when no port changes.

    `ip_delta`       change of the IPv4 header checksum: the addresses
    `l4_delta`       change of the TCP or UDP checksum: addresses (pseudo-header) and ports
    `partial_delta`  change of a partial L4 checksum: the addresses alone
    """

    __slots__ = (
        "addresses",
        "addresses_at",
        "addresses_end",
        "ip_delta",
        "l4_delta",
        "partial_delta",
        "ports",
        "ports_at",
        "ports_end",
    )

    def __init__(self, old: bytes, new: bytes) -> None:
        o, n = FlowKey.of(old), FlowKey.of(new)
        size = len(o.source)
        first, last = _changed_part((o.source, o.destination), (n.source, n.destination))
        block = 12 if size == 4 else 8
        self.addresses_at = block + first * size
        self.addresses_end = block + last * size
        self.addresses = (n.source + n.destination)[first * size : last * size]
        old_addresses = (o.source + o.destination)[first * size : last * size]

        first, last = _changed_part(
            (o.source_port, o.destination_port), (n.source_port, n.destination_port)
        )
        self.ports_at = 2 * first
        self.ports_end = 2 * last
        self.ports = (n.source_port + n.destination_port)[2 * first : 2 * last]
        old_ports = (o.source_port + o.destination_port)[2 * first : 2 * last]

        self.partial_delta = checksum.delta(old_addresses, self.addresses)
        self.ip_delta = self.partial_delta if size == 4 else 0
        self.l4_delta = checksum.fold(self.partial_delta + checksum.delta(old_ports, self.ports))


def _changed_part(old: tuple[bytes, bytes], new: tuple[bytes, bytes]) -> tuple[int, int]:
    """Return (first, last): the changed ones of two neighbours are those in [first:last]."""
    changed = [index for index in (0, 1) if old[index] != new[index]]
    return (changed[0], changed[-1] + 1) if changed else (0, 0)
