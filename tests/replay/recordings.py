"""Records for the tests: frames as a capture file would hold them."""

from __future__ import annotations

from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1Q, Ether
from scapy.packet import Packet

from lb_switch.files.record import CapturedPacket, CaptureInterface

CLIENT_MAC, SWITCH_MAC = "02:00:00:00:01:11", "02:00:00:00:01:01"

HEADERS: dict[str, tuple[int, bytes]] = {
    "ethernet": (1, bytes(Ether(src=CLIENT_MAC, dst=SWITCH_MAC, type=0x0800))),
    "vlan": (1, bytes(Ether(src=CLIENT_MAC, dst=SWITCH_MAC) / Dot1Q(vlan=7, type=0x0800))),
    "raw": (101, b""),
    "raw_ipv4": (228, b""),
    "cooked": (113, bytes(CookedLinux(pkttype=0, proto=0x0800))),
    "cooked_v2": (276, bytes(CookedLinuxV2(pkttype=0, proto=0x0800))),
    "loopback": (0, (2).to_bytes(4, "little")),
}
"""Link type and the header in front of an IPv4 packet of the client, by name."""


def record(
    frame: bytes | Packet,
    time: float = 0.0,
    link_type: int = 1,
    wire_length: int | None = None,
    number: int = 0,
) -> CapturedPacket:
    """Return a frame as a record."""
    data = bytes(frame)
    length = len(data) if wire_length is None else wire_length
    return CapturedPacket(
        round(time * 1_000_000) * 1_000, CaptureInterface(number, link_type), data, length
    )


def framed(kind: str, packet: bytes, time: float = 0.0) -> CapturedPacket:
    """Return an IPv4 packet of the client as a record with that kind of header."""
    link_type, header = HEADERS[kind]
    return record(header + packet, time, link_type)
