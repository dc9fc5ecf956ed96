"""What is shown of a packet's TTL: what stood on either wire, wherever it was captured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import IPv6

from lb_switch.engine.events import Event, PacketEvent
from lb_switch.files.pcap import open_capture
from lb_switch.stream import encode
from lb_switch.stream.encode import Encoder
from lb_switch.stream.wires import on_the_wires
from tests.explain import told
from tests.support.both_sides import BothSidesFile
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    make_switch,
    send,
)
from tests.support.packets import dissect, ip, recomputed, tcp, udp

ROUTED = pytest.mark.parametrize("routed", [True, False], ids=["behind", "before"])
"""Behind the host's forwarding (tun; nfqueue's POSTROUTING), or before it (its PREROUTING)."""
FAMILIES = pytest.mark.parametrize(
    ("client", "vip", "rips"), [(CLIENT, VIP, RIPS), (CLIENT6, VIP6, RIPS6)], ids=["v4", "v6"]
)
Endpoint = tuple[str, int]
Rips = tuple[Endpoint, ...]


def with_ttl(packet: bytes, ttl: int) -> bytes:
    parsed = dissect(packet)
    if parsed.version == 4:
        parsed.ttl = ttl
        del parsed.chksum
    else:
        parsed.hlim = ttl
    return bytes(parsed)


def ttl(packet: bytes) -> int:
    parsed = dissect(packet)
    return int(parsed.ttl if parsed.version == 4 else parsed.hlim)


def event_of(packet: bytes, switch: Any) -> PacketEvent:
    events: list[Event] = []
    switch.listen(events.append)
    send(switch, packet)
    (event,) = [each for each in events if isinstance(each, PacketEvent)]
    return event


@ROUTED
@FAMILIES
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_what_is_forwarded_took_one_hop(
    client: Endpoint, vip: Endpoint, rips: Rips, protocol: str, routed: bool
) -> None:
    switch = make_switch(vip, rips)
    packet = tcp(client, vip, "S") if protocol == "tcp" else udp(client, vip, b"hello")
    shown = on_the_wires(event_of(with_ttl(packet, 63 if routed else 64), switch), routed)
    before, after, _ = shown
    assert (ttl(before), ttl(after)) == (64, 63)
    assert dissect(after).dst == rips[0][0]
    for data in (before, after):
        assert data == recomputed(data)


@ROUTED
def test_what_is_answered_or_dropped_stands_as_it_came(routed: bool) -> None:
    came = 56 if routed else 57
    answered = event_of(with_ttl(tcp(CLIENT, (VIP[0], 81), "S"), came), make_switch())
    before, after, answers = on_the_wires(answered, routed)
    assert ttl(before) == 57
    assert after == before
    assert [ttl(packet) for packet in answers] == [64]
    dropped = event_of(with_ttl(bytes(ip(CLIENT[0], VIP[0]) / ICMP(type=5)), came), make_switch())
    before, after, answers = on_the_wires(dropped, routed)
    assert (ttl(before), after, answers) == (57, before, ())


@ROUTED
def test_what_was_held_leaves_as_its_first_fragment_does(routed: bool) -> None:
    switch = make_switch()
    came = 63 if routed else 64
    whole = IP(src=CLIENT[0], dst=VIP[0], id=7, ttl=came, proto=17)
    datagram = bytes(IP(udp(CLIENT, VIP, b"x" * 40)).payload)
    later, first = whole.copy(), whole.copy()
    later.frag, first.flags = 4, "MF"
    send(switch, bytes(later / datagram[32:]))
    event = event_of(bytes(first / datagram[:32]), switch)
    before, after, released = on_the_wires(event, routed)
    assert [ttl(packet) for packet in released] == [63]
    assert (ttl(before), ttl(after)) == (64, 63)


@pytest.mark.parametrize("first", [64, 128, 255])
def test_what_the_host_itself_sent_came_by_no_wire(first: int) -> None:
    event = event_of(with_ttl(tcp(CLIENT, VIP, "S"), first), make_switch())
    before, _, _ = on_the_wires(event, routed=True)
    assert ttl(before) == first


def test_what_is_no_packet_is_kept() -> None:
    for data in (
        b"",
        b"\x45\0\0\x55abc",
        bytes(IPv6(src="fd00::1", dst="fd00::2", hlim=1))[:19],
        b"\xf0" * 60,
    ):
        event = event_of(data, make_switch())
        for routed in (True, False):
            assert on_the_wires(event, routed) == (data, data, ())


@ROUTED
@FAMILIES
def test_diff_and_pcapng_tell_the_same(
    client: Endpoint, vip: Endpoint, rips: Rips, routed: bool, tmp_path: Path
) -> None:
    switch = make_switch(vip, rips)
    encoder = Encoder(switch.listeners.number_of, lambda: routed)
    lines = [encoder.header(switch, {}, 0.0)]
    both = BothSidesFile(tmp_path / "both.pcapng", switch, routed=lambda: routed)
    switch.listen(lambda event: lines.append(encoder.encode(event)))
    for packet in (tcp(client, vip, "S"), tcp(rips[0], client, "SA")):
        send(switch, with_ttl(packet, 63 if routed else 64))
    both.close()
    lines.append(encode.end(1.0, 2, 0))
    name = "time to live" if vip is VIP else "hop limit"
    rows = [line for line in told.shown("diff", lines) if line.startswith(f"    {name}")]
    assert rows == [f"    {name:<18} {64:<27} ≠ 63 (the switch is one hop)"] * 2
    with open_capture(both.path) as file:
        assert [ttl(record.data) for record in file] == [64, 63, 64, 63]
    walked = "\n".join(told.shown("diff", lines, checksum=True))
    assert "✗" not in walked
    assert "damaged" not in walked
    assert ("time to live" in walked) == (vip is VIP)
