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
from collections.abc import Collection, Iterator
from typing import NamedTuple

from lb_switch.engine.packet.parse import ParseError, parse
from lb_switch.engine.packet.partial import complete_checksum
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.files.pcapng import INBOUND, OUTBOUND
from lb_switch.stream.schema import PacketRecord, SentRecord


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


def copies(packet: PacketRecord, real_servers: Collection[bytes]) -> Iterator[Copy]:
    """Yield the packet as it came, as it left, and what the switch sent because of it.

    `real_servers` are packed addresses: they tell where a packet of no connection came from.
    """
    before = packet.bytes_before
    arrived = _arrival(packet, before, real_servers)
    yield _copy(arrived, INBOUND, before, packet.partial)
    if packet.verdict == "forward":
        yield _copy(arrived.other, OUTBOUND, packet.bytes_after, packet.partial)
    for each in packet.sent:
        sent = each.bytes_sent
        if packet.verdict == "reply":
            back = _destination(sent) == _source(before)
            yield Copy(arrived if back else arrived.other, OUTBOUND, sent, ANSWER)
        elif packet.verdict == "forward":
            yield Copy(arrived.other, OUTBOUND, sent, RELEASED)


def own_copy(sent: SentRecord) -> Copy:
    """Return the one copy of a packet that the switch sent of its own accord."""
    side = Side.SERVER if sent.direction == "original" else Side.CLIENT
    return Copy(side, OUTBOUND, sent.bytes_sent, ANSWER)


def _arrival(packet: PacketRecord, before: bytes, real_servers: Collection[bytes]) -> Side:
    if packet.direction is not None:
        return Side.CLIENT if packet.direction == "original" else Side.SERVER
    return Side.SERVER if _source(before) in real_servers else Side.CLIENT


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
    # As a network card does.  A wrong sum in the field stays visible as a wrong checksum.
    complete_checksum(buffer, 0, parsed.end)
    return Copy(side, direction, bytes(buffer[: parsed.end]), COMPLETED)
