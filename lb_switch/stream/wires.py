"""What stood on the wires.

The switch is one hop, but its own code takes none: the host's forwarding does.  A capture reads a
packet before that (nfqueue's PREROUTING) or after it (a TUN device, nfqueue's POSTROUTING), so that
what the engine sees has the TTL (hop limit) of one wire or of the other.  Views and files show
those of both: as tcpdump sees it on either side.
"""

from __future__ import annotations

from collections.abc import Callable

from lb_switch.engine.events import PacketEvent
from lb_switch.engine.packet.hop import with_hop_back, with_hop_taken
from lb_switch.engine.verdict import Action

Routed = Callable[[], bool]
"""Whether the packet at hand had its hop taken before the capture read it."""

_FIRST_TTLS = frozenset((64, 128, 255))
"""What hosts begin with: a packet that still has it was made by this host, and came by no wire."""


def not_routed() -> bool:
    """Packets of a file: as they stood on the wire that they came by."""
    return False


def on_the_wires(event: PacketEvent, routed: bool) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Return the packet as it came by one wire and went by the other, and what was sent besides."""
    before, after = event.before, event.after
    action, _, packets = event.verdict
    if routed:
        before = _before_routing(before)
        return before, after if action is Action.FORWARD else before, packets
    if action is Action.FORWARD:
        after = with_hop_taken(after)
        if packets:
            packets = tuple(with_hop_taken(packet) for packet in packets)
    return before, after, packets


def _before_routing(packet: bytes) -> bytes:
    if len(packet) < 20 or packet[0] >> 4 not in {4, 6}:
        return packet
    ttl = packet[8] if packet[0] < 0x50 else packet[7]
    return packet if ttl in _FIRST_TTLS else with_hop_back(packet)
