"""Both sides of the switch in one pcapng file, for Wireshark.

Two interfaces, `client-side` and `server-side`; every packet as it came and as it went on, the two
copies under one packet id (`frame.packet_id`), with the direction at its interface and its story as
a comment (`frame.comment`); names for VIPs, real servers and clients; time in nanoseconds.

What is written is what stood on the wires: raw IP, padding cut off, the TTL of each side (the
switch is one hop), and partial L4 checksums completed (the comment says so).  A partial checksum is
no damage but work left to the network card; shown as it stands it would be one false alarm per
packet.

    sides = BothSides(header)
    write(sides.head())
    write(sides.blocks(record, time_ns))       # for each record of the stream

The format is draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.parse import ParseError, parse
from lb_switch.engine.verdict import Reason
from lb_switch.export.comment import line_of_sent, one_line
from lb_switch.export.names import Names
from lb_switch.export.sides import RELEASED, Copy, copies, own_copy
from lb_switch.files import pcapng
from lb_switch.files.record import CapturedPacket, CaptureInterface
from lb_switch.stream.picture import Picture
from lb_switch.stream.schema import DroppedRecord, Header, PacketRecord, Record, SentRecord

RAW_IP = 101
"""LINKTYPE_RAW: the IP version stands in the packet itself."""

INTERFACES = (
    CaptureInterface(0, RAW_IP, "client-side"),
    CaptureInterface(1, RAW_IP, "server-side"),
)
_DESCRIPTIONS = ("the switch towards clients", "the switch towards real servers")
_ABOUT = (
    "Both sides of an L4 switch: the copies of a packet share frame.packet_id, its story is"
    " frame.comment. Partial checksums are completed."
)
_HELD_FRAGMENTS = 1024
"""Packet ids of held fragments that are remembered until they are released."""


class BothSides:
    """Makes the blocks of one file, from a stream that keeps packets whole.

    `describe` tells a packet's story; it is also given the address of the packet's virtual server.
    """

    def __init__(
        self, header: Header, describe: Callable[[PacketRecord, str], str] = one_line
    ) -> None:
        self._describe = describe
        self._picture = Picture(header)
        self._names = Names(header.hosts)
        self._lost = [0, 0]
        self._held: OrderedDict[_FragmentKey | None, int] = OrderedDict()
        self._real_servers = self._addresses()

    def head(self) -> bytes:
        """Return the blocks that open the file."""
        blocks = [pcapng.section_header(application="lb-switch", comment=_ABOUT)]
        for interface, description in zip(INTERFACES, _DESCRIPTIONS, strict=True):
            blocks.append(pcapng.interface_description(interface, description))
        return b"".join(blocks) + self._fresh_names()

    def blocks(self, record: Record, time_ns: int) -> bytes:
        """Return what a record adds to the file, perhaps nothing.

        `time_ns` counts from the epoch; raises struct.error for a time that the format cannot hold.
        Where records are missing, the next packet on each side tells how many
        (`frame.drop_count`): each was seen on both, or was dropped on one.
        """
        if isinstance(record, PacketRecord):
            return self._packet(record, time_ns)
        if isinstance(record, SentRecord):
            copy = own_copy(record)
            return self._block(copy, time_ns, f"{line_of_sent(record)} [{copy.remark}]")
        if isinstance(record, DroppedRecord):
            self._lost = [lost + record.count for lost in self._lost]
        self._picture.learn(record)
        self._real_servers = self._addresses()
        return self._fresh_names()

    def _packet(self, packet: PacketRecord, time_ns: int) -> bytes:
        named = [] if packet.connection is None else self._names.of_client(packet.connection)
        blocks = [pcapng.name_resolution(named)] if named else []
        group = self._picture.virtual_servers.get(packet.virtual_server or "")
        story = self._describe(packet, "" if group is None else group.address)
        if packet.reason == Reason.FRAGMENT_HELD.value:
            self._remember(packet)
        for copy in copies(packet, self._real_servers):
            comment = f"{story} [{copy.remark}]" if copy.remark else story
            blocks.append(self._block(copy, time_ns, comment, self._packet_id(packet, copy)))
        return b"".join(blocks)

    def _block(self, copy: Copy, time_ns: int, comment: str, packet_id: int | None = None) -> bytes:
        record = CapturedPacket(time_ns, INTERFACES[copy.side], copy.data, len(copy.data))
        lost, self._lost[copy.side] = self._lost[copy.side], 0
        return pcapng.enhanced_packet(
            record,
            copy.side,
            comment=comment,
            direction=copy.direction,
            packet_id=packet_id,
            lost=lost,
        )

    def _fresh_names(self) -> bytes:
        named = self._names.of_groups(self._picture.virtual_servers.values())
        return pcapng.name_resolution(named) if named else b""

    def _addresses(self) -> frozenset[bytes]:
        return frozenset(
            Endpoint.parse(real_server.address).ip.packed
            for group in self._picture.virtual_servers.values()
            for real_server in group.real_servers
        )

    def _packet_id(self, packet: PacketRecord, copy: Copy) -> int:
        """Return the number of the packet; for a released fragment, of its own arrival."""
        if copy.remark is RELEASED:
            return self._held.pop(_fragment_key(packet.bytes_before, copy.data), packet.number)
        return packet.number

    def _remember(self, packet: PacketRecord) -> None:
        before = packet.bytes_before
        self._held[_fragment_key(before, before)] = packet.number
        if len(self._held) > _HELD_FRAGMENTS:
            self._held.popitem(last=False)


_FragmentKey = tuple[bytes, bytes, int, int, int]


def _fragment_key(arrived: bytes, fragment: bytes) -> _FragmentKey | None:
    """Name a fragment as it came, by any fragment of the same datagram that `arrived`.

    A translation gives it other addresses and another identification, but leaves its offset alone.
    """
    try:
        whole, part = (parse(bytearray(each), 0, len(each)) for each in (arrived, fragment))
    except ParseError:
        return None
    if whole.fragment is None or part.fragment is None:
        return None
    number = whole.fragment.identification
    return whole.source, whole.destination, whole.protocol, number, part.fragment.offset
