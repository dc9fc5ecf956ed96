"""A translation and its inverse, against scapy's edit and full recomputation."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from lb_switch.engine.nat.rewrite import rewrite
from lb_switch.engine.nat.translation import Translation
from lb_switch.engine.packet.flow_key import FlowKey
from lb_switch.engine.packet.parse import parse
from tests.support.packets import corrupted, dissect, edited
from tests.support.soundness import repaired, soundness

ports = st.integers(1, 65535)
v4 = st.integers(0x01000000, 0xDFFFFFFF).map(lambda n: str(ipaddress.IPv4Address(n)))
v6 = st.integers(1 << 125, (1 << 125) + (1 << 100)).map(lambda n: str(ipaddress.IPv6Address(n)))
ends = st.one_of(st.tuples(st.just(4), v4, v4, v4, v4), st.tuples(st.just(6), v6, v6, v6, v6))


def key(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    return FlowKey(
        ipaddress.ip_address(source[0]).packed,
        ipaddress.ip_address(destination[0]).packed,
        source[1].to_bytes(2, "big"),
        destination[1].to_bytes(2, "big"),
    ).pack()


def translated(data: bytes, translation: Translation) -> bytes:
    buffer = bytearray(b"\x77" * 5 + data)
    rewrite(parse(buffer, 5, len(data)), translation)
    return bytes(buffer[5:])


@st.composite
def cases(draw: st.DrawFn) -> tuple[bytes, tuple[tuple[str, int], ...]]:
    """Draw a TCP or UDP packet, and its source and destination, old and new."""
    version, *addresses = draw(ends)
    places = tuple((address, draw(ports)) for address in addresses)
    payload = Raw(draw(st.binary(max_size=64)))
    l4: Any = draw(st.sampled_from([TCP(flags="PA", seq=1, ack=2), UDP()]))
    l4.sport, l4.dport = places[0][1], places[1][1]
    if version == 4:
        options = [IPOption_NOP()] * draw(st.sampled_from([0, 4, 12, 40]))
        head = IP(src=places[0][0], dst=places[1][0], id=draw(ports), options=options)
    else:
        head = IPv6(src=places[0][0], dst=places[1][0])
    return bytes(head / l4 / payload), places


@given(cases(), st.sampled_from(["source", "destination", "both"]), st.booleans())
def test_rewriting_is_editing_and_recomputing(
    case: tuple[bytes, tuple[tuple[str, int], ...]], what: str, same_port: bool
) -> None:
    data, (source, destination, new_source, new_destination) = case
    if same_port:
        new_source = (new_source[0], source[1])
        new_destination = (new_destination[0], destination[1])
    if what == "source":
        new_destination = destination
    elif what == "destination":
        new_source = source
    translation = Translation(key(source, destination), key(new_source, new_destination))
    inverse = Translation(key(new_source, new_destination), key(source, destination))
    result = translated(data, translation)
    expected = edited(data, source=new_source, destination=new_destination)
    # A sum of zero has two representations; equation 3 of RFC 1624 and a full computation may
    # differ in it, and both are valid.
    assume(b"\x00\x00" not in {_l4_checksum(result), _l4_checksum(expected)})
    assert result == expected
    assert translated(result, inverse) == data, "there and back again"


@given(cases(), st.integers(0, 10_000))
def test_a_damaged_packet_stays_damaged(
    case: tuple[bytes, tuple[tuple[str, int], ...]], where: int
) -> None:
    data, (source, destination, _, new_destination) = case
    l4 = parse(bytearray(data), 0, len(data)).l4
    payload = l4 + (20 if b"TCP" in repr(dissect(data)).encode() else 8)
    assume(len(data) > payload)
    damaged = corrupted(data, payload + where % (len(data) - payload))
    translation = Translation(key(source, destination), key(source, new_destination))
    result = translated(damaged, translation)
    assert result != edited(damaged, destination=new_destination), "the damage was covered up"
    assert _l4_checksum(result) == _l4_checksum(translated(data, translation))


@given(cases(), st.sampled_from([b"\x00\x00", b"\xff\xff"]), st.booleans())
def test_zero_has_two_representations_and_both_stay_right(
    case: tuple[bytes, tuple[tuple[str, int], ...]], zero: bytes, going_in: bool
) -> None:
    """RFC 1624, section 3: a sum of zero is 0x0000 or 0xFFFF, before or after the translation."""
    data, (source, destination, _, new_destination) = case
    translation = Translation(key(source, destination), key(source, new_destination))
    packet = parse(bytearray(data), 0, len(data))
    at = packet.l4 + (16 if packet.protocol == 6 else 6)
    assume(len(data) - packet.l4 >= 22 and packet.l4 % 2 == 0)
    # The last whole word of the payload takes what makes the checksum zero.
    last = packet.l4 + (len(data) - packet.l4) // 2 * 2 - 2
    assume(last > at + (2 if packet.protocol == 6 else 0))
    blank = data[:last] + b"\x00\x00" + data[last + 2 :]
    blank = repaired(blank) if going_in else translated(repaired(blank), translation)
    checksum = blank[at : at + 2]
    sample = data[:last] + checksum + data[last + 2 :]
    sample = sample[:at] + (zero if going_in else b"\x00\x00") + sample[at + 2 :]
    if packet.protocol == 17 and zero == b"\x00\x00":
        return  # no checksum at all
    sample = sample if going_in else repaired(sample)
    assert soundness(sample).l4
    assert soundness(translated(sample, translation)) == soundness(sample)
    inverse = Translation(key(source, new_destination), key(source, destination))
    assert soundness(translated(translated(sample, translation), inverse)) == soundness(sample)


@given(v4, v4, ports)
def test_no_udp_checksum_stays_none(vip: str, rip: str, port: int) -> None:
    data = bytes(IP(src="10.0.1.11", dst=vip) / UDP(sport=5, dport=53, chksum=0) / b"abc")
    translation = Translation(key(("10.0.1.11", 5), (vip, 53)), key(("10.0.1.11", 5), (rip, port)))
    assert dissect(translated(data, translation))[UDP].chksum == 0


def _l4_checksum(data: bytes) -> bytes:
    packet = parse(bytearray(data), 0, len(data))
    at = packet.l4 + (16 if packet.protocol == 6 else 6)
    return data[at : at + 2]


def test_only_what_changes_is_held() -> None:
    client, vip, rip = ("10.0.1.11", 4000), ("10.0.1.100", 80), ("10.0.2.11", 80)
    to_server = Translation(key(client, vip), key(client, rip))
    assert (to_server.addresses_at, to_server.addresses_end) == (16, 20)
    assert to_server.addresses == ipaddress.ip_address("10.0.2.11").packed
    assert to_server.ports == b""
    to_client = Translation(key((rip[0], 8080), client), key(vip, client))
    assert (to_client.addresses_at, to_client.addresses_end) == (12, 16)
    assert (to_client.ports_at, to_client.ports_end, to_client.ports) == (0, 2, b"\x00\x50")
    full = Translation(key(client, vip), key(("10.0.2.1", 1025), (rip[0], 8080)))
    assert (full.addresses_at, full.addresses_end) == (12, 20)
    assert (full.ports_at, full.ports_end) == (0, 4)
