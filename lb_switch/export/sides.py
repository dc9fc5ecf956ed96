"""Which copies of a packet there are, and on which side of the switch each was seen.  Pure.

    client  --[ client-side   switch   server-side ]--  real server

An original packet arrives on the client side and leaves, rewritten, on the server side; a reply the
other way round.  The sides are those of the conversation: with one interface (one-arm), or where a
client shares the real servers' network, both are still told apart.

What was dropped has one copy, where it arrived.  An answer of the switch leaves where the packet
arrived that it answers; what it tells the other side at the same time, there.  What was passed has
one copy as well, though it did leave: nothing changed, and a second copy would look like a
retransmission to every analyser.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from lb_switch.engine.connections.tcp_state import Direction
from lb_switch.engine.events import PacketEvent, SentEvent
from lb_switch.engine.packet import checksum
from lb_switch.engine.packet.parse import ParseError, parse
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.verdict import Action
from lb_switch.files.pcapng import INBOUND, OUTBOUND


class Side(enum.IntEnum):
    """The two interfaces of the file, by number."""

    CLIENT = 0
    SERVER = 1

    @property
    def other(self) -> Side:
        """The side across the switch."""
        return Side(1 - self)


class Copy(NamedTuple):
    """An IP packet as it was seen at one side."""

    side: Side
    direction: int
    """INBOUND or OUTBOUND, seen from the switch."""
    data: bytes
    remark: str = ""
    """What there is to say about this copy besides the packet's story."""


COMPLETED = "L4 checksum left to the network card: completed in this copy"
ANSWER = "made by the switch"
RELEASED = "held until the first fragment came"


def copies(event: PacketEvent, real_servers: frozenset[bytes]) -> Iterator[Copy]:
    """Yield the packet as it came, as it left, and what the switch sent because of it.

    `real_servers` are packed addresses: they tell where a packet of no connection came from.
    """
    arrived = _arrival(event, real_servers)
    yield _copy(arrived, INBOUND, event.before, event.partial)
    action = event.verdict.action
    if action is Action.FORWARD:
        yield _copy(arrived.other, OUTBOUND, event.after, event.partial)
    for packet in event.verdict.packets:
        if action is Action.REPLY:
            back = _destination(packet) == _source(event.before)
            yield Copy(arrived if back else arrived.other, OUTBOUND, packet, ANSWER)
        elif action is Action.FORWARD:
            yield Copy(arrived.other, OUTBOUND, packet, RELEASED)


def own_copy(event: SentEvent) -> Copy:
    """Return the one copy of a packet that the switch sent of its own accord."""
    side = Side.SERVER if event.direction is Direction.ORIGINAL else Side.CLIENT
    return Copy(side, OUTBOUND, event.packet, ANSWER)


def _arrival(event: PacketEvent, real_servers: frozenset[bytes]) -> Side:
    if event.direction is not None:
        return Side.CLIENT if event.direction is Direction.ORIGINAL else Side.SERVER
    return Side.SERVER if _source(event.before) in real_servers else Side.CLIENT


def _source(packet: bytes) -> bytes:
    return packet[12:16] if packet[:1] < b"\x50" else packet[8:24]


def _destination(packet: bytes) -> bytes:
    return packet[16:20] if packet[:1] < b"\x50" else packet[24:40]


def _copy(side: Side, direction: int, packet: bytes, partial: bool) -> Copy:
    """Cut off padding, and complete a partial checksum."""
    buffer = bytearray(packet)
    try:
        parsed = parse(buffer, 0, len(buffer), partial)
    except ParseError:
        return Copy(side, direction, packet)
    if not (partial and parsed.protocol in {TCP, UDP} and parsed.fragment is None):
        return Copy(side, direction, packet[: parsed.end])
    at = parsed.l4 + (16 if parsed.protocol == TCP else 6)
    # The field holds the pseudo-header's sum already, so summing it with the rest is all there is
    # to do: what a network card does.  A wrong sum in it stays visible as a wrong checksum.
    total = checksum.internet_checksum(buffer[parsed.l4 : parsed.end])
    if parsed.protocol == UDP:
        total = total or 0xFFFF
    buffer[at : at + 2] = total.to_bytes(2, "big")
    return Copy(side, direction, bytes(buffer[: parsed.end]), COMPLETED)
