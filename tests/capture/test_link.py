"""Link-layer headers: scapy builds the frames, we find the IP packet in them."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, LLC, STP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet

from lb_switch.files.link import LINK_TYPES

V4 = IP(src="10.0.1.11", dst="10.0.1.100") / UDP()
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP()


@pytest.mark.parametrize("packet", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (1, Ether()),
        (1, Ether() / Dot1Q(vlan=7)),
        (1, Ether() / Dot1AD(vlan=8) / Dot1Q(vlan=7)),
        (1, Ether(type=0x9100) / Dot1Q(vlan=8) / Dot1Q(vlan=7)),
        (113, CookedLinux()),
        (113, CookedLinux() / Dot1Q(vlan=7)),
        (276, CookedLinuxV2()),
    ],
)
def test_ip_is_found_behind_the_header(link_type: int, header: Packet, packet: Packet) -> None:
    frame = bytes(header / packet)
    start = LINK_TYPES[link_type].find_ip(frame)
    assert start is not None
    assert frame[start:] == bytes(packet)


@pytest.mark.parametrize("link_type", [12, 14, 101, 228, 229])
def test_raw_ip_begins_at_once(link_type: int) -> None:
    assert LINK_TYPES[link_type].find_ip(bytes(V4)) == 0


@pytest.mark.parametrize("link_type", [0, 108])
@pytest.mark.parametrize("family", [2, 10, 24, 28, 30])
def test_loopback_names_the_address_family_in_either_byte_order(
    link_type: int, family: int
) -> None:
    for header in (family.to_bytes(4, "big"), family.to_bytes(4, "little")):
        assert LINK_TYPES[link_type].find_ip(header + bytes(V4)) == 4
    assert LINK_TYPES[link_type].find_ip((7).to_bytes(4, "big") + bytes(V4)) is None


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (1, Ether() / ARP()),
        (1, Ether() / Dot1Q() / ARP()),
        (1, Dot3() / LLC() / STP()),
        (113, CookedLinux(proto=0x0806) / ARP()),
        (276, CookedLinuxV2(proto=0x0806) / ARP()),
    ],
)
def test_other_frames_hold_no_ip(link_type: int, frame: Packet) -> None:
    assert LINK_TYPES[link_type].find_ip(bytes(frame)) is None


@pytest.mark.parametrize("link_type", [0, 1, 108, 113, 276])
def test_a_frame_shorter_than_its_header_holds_no_ip(link_type: int) -> None:
    tagged = bytes(Ether(type=0x8100) / Dot1Q(vlan=7) / V4)
    for length in range(4 if link_type in (0, 108) else 14):
        assert LINK_TYPES[link_type].find_ip(tagged[:length]) is None
    assert LINK_TYPES[1].find_ip(tagged[:17]) is None


def test_an_answer_swaps_ethernet_addresses_and_keeps_the_tag() -> None:
    header = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / Dot1Q(vlan=7))
    answer = Ether(LINK_TYPES[1].turn_round(header))
    assert (answer.src, answer.dst) == ("02:00:00:00:00:02", "02:00:00:00:00:01")
    assert answer[Dot1Q].vlan == 7


@pytest.mark.parametrize(
    ("link_type", "layer"), [(113, CookedLinux), (276, CookedLinuxV2)], ids=["v1", "v2"]
)
def test_a_cooked_answer_is_marked_as_sent(link_type: int, layer: type[Packet]) -> None:
    header = bytes(layer(pkttype=0, proto=0x0800))
    answer = LINK_TYPES[link_type].turn_round(header)
    assert layer(answer).pkttype == 4
    assert len(answer) == len(header)
