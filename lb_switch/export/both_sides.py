"""Both sides of the switch in one pcapng file, for Wireshark.

Two interfaces, `client-side` and `server-side`; every packet as it came and as it went on, the two
copies under one packet id (`frame.packet_id`), with the direction at its interface and its story as
a comment (`frame.comment`); names for VIPs, real servers and clients; time in nanoseconds.

What is written is what stood on the wires: raw IP, padding cut off, the TTL of each side (the
switch is one hop), and partial L4 checksums completed (the comment says so).  A partial checksum is
no damage but work left to the network card; shown as it stands it would be one false alarm per
packet.

    sides = BothSides(switch.virtual_servers.values())
    accept(sides.head())
    sides.put(event, time_ns, accept)       # for each PacketEvent

The format is draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from lb_switch.engine.events import PacketEvent, SentEvent
from lb_switch.engine.packet.parse import ParseError, parse
from lb_switch.engine.verdict import Reason
from lb_switch.export.comment import line_of_sent, one_line
from lb_switch.export.names import Names
from lb_switch.export.sides import RELEASED, Copy, copies, own_copy
from lb_switch.files import pcapng
from lb_switch.files.record import CapturedPacket, CaptureInterface
from lb_switch.stream.wires import Routed, on_the_wires

if TYPE_CHECKING:
    from lb_switch.engine.packet.endpoint import IPAddress
    from lb_switch.engine.servers import VirtualServer

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
    """Makes the blocks of one file.  `describe` tells a packet's story; `hosts` names addresses.

    `routed` gives packets the TTLs that stood on the wires; without it they are as the engine saw
    them.
    """

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        hosts: Mapping[IPAddress, str] | None = None,
        describe: Callable[[PacketEvent], str] = one_line,
        routed: Routed | None = None,
    ) -> None:
        # A view of the switch's own collection, so that real servers added later are known too.
        self._virtual_servers = virtual_servers
        self._describe = describe
        self._routed = routed
        self.names = Names(hosts)
        self._lost = [0, 0]
        self._held: OrderedDict[_FragmentKey | None, int] = OrderedDict()

    def head(self) -> bytes:
        """Return the blocks that open the file."""
        blocks = [pcapng.section_header(application="lb-switch", comment=_ABOUT)]
        for interface, description in zip(INTERFACES, _DESCRIPTIONS, strict=True):
            blocks.append(pcapng.interface_description(interface, description))
        named = self.names.of_group(self._virtual_servers)
        if named:
            blocks.append(pcapng.name_resolution(named))
        return b"".join(blocks)

    def put(self, event: PacketEvent, time_ns: int, accept: Callable[[bytes], bool]) -> None:
        """Offer the blocks, all together, to `accept`.

        If that refuses, the next packet that is accepted tells how many are missing
        (`frame.drop_count`).  `time_ns` counts from the epoch; raises struct.error for a time that
        the format cannot hold.
        """
        if self._routed is not None:
            event = on_the_wires(event, self._routed())
        seen = self._copies(event)
        fresh = self.names.of_packet(event)
        data = pcapng.name_resolution(fresh) if fresh else b""
        if accept(data + self._encode(event, time_ns, seen)):
            for copy in seen:
                self._lost[copy.side] = 0
        else:
            self.names.forget(fresh)
            for copy in seen:
                self._lost[copy.side] += 1

    def put_sent(self, event: SentEvent, time_ns: int, accept: Callable[[bytes], bool]) -> None:
        """Likewise for what the switch sent of its own accord: one block, without a packet id."""
        copy = own_copy(event)
        record = CapturedPacket(time_ns, INTERFACES[copy.side], copy.data, len(copy.data))
        block = pcapng.enhanced_packet(
            record,
            copy.side,
            comment=f"{line_of_sent(event)} [{copy.remark}]",
            direction=copy.direction,
            lost=self._lost[copy.side],
        )
        self._lost[copy.side] = 0 if accept(block) else self._lost[copy.side] + 1

    def _copies(self, event: PacketEvent) -> list[Copy]:
        if event.direction is not None:
            return list(copies(event, frozenset()))
        real_servers = frozenset(
            real_server.endpoint.ip.packed
            for virtual_server in self._virtual_servers
            for real_server in virtual_server.real_servers
        )
        return list(copies(event, real_servers))

    def _encode(self, event: PacketEvent, time_ns: int, seen: list[Copy]) -> bytes:
        story = self._describe(event)
        if event.verdict.reason is Reason.FRAGMENT_HELD:
            self._remember(event)
        lost = list(self._lost)
        blocks = []
        for copy in seen:
            record = CapturedPacket(time_ns, INTERFACES[copy.side], copy.data, len(copy.data))
            blocks.append(
                pcapng.enhanced_packet(
                    record,
                    copy.side,
                    comment=f"{story} [{copy.remark}]" if copy.remark else story,
                    direction=copy.direction,
                    packet_id=self._packet_id(event, copy),
                    lost=lost[copy.side],
                )
            )
            lost[copy.side] = 0
        return b"".join(blocks)

    def _packet_id(self, event: PacketEvent, copy: Copy) -> int:
        """Return the number of the packet; for a released fragment, of its own arrival."""
        if copy.remark is RELEASED:
            return self._held.pop(_fragment_key(event.before, copy.data), event.number)
        return event.number

    def _remember(self, event: PacketEvent) -> None:
        self._held[_fragment_key(event.before, event.before)] = event.number
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
