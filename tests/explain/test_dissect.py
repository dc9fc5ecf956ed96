"""Header fields: against scapy, and for any bytes whatever."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from lb_switch.explain.describe import summarise
from lb_switch.explain.dissect import Layer, dissect

SYN = TCP(
    sport=40000,
    dport=80,
    flags="S",
    seq=7,
    ack=9,
    window=512,
    options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (5, 6)), ("NOP", None), ("WScale", 7)],
)
V4 = IP(src="10.0.1.11", dst="10.0.1.100", ttl=61, id=0xABCD, flags="DF")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=9, fl=0x12345, tc=3)


def texts(layer: Layer) -> dict[str, str]:
    return {field.name: field.text for field in layer.fields}


def test_ipv4_and_tcp_as_scapy_sees_them() -> None:
    packet = IP(bytes(V4 / SYN / Raw(b"data")))
    ip, tcp, data = dissect(bytes(packet))
    assert texts(ip) == {
        "version": "4",
        "header length": f"{packet.ihl * 4} bytes",
        "DSCP and ECN": f"0x{packet.tos:02x}",
        "total length": str(packet.len),
        "identification": "0xabcd",
        "flags": "DF",
        "fragment offset": "0",
        "time to live": "61",
        "protocol": "TCP (6)",
        "header checksum": f"0x{packet.chksum:04x}",
        "source": "10.0.1.11",
        "destination": "10.0.1.100",
    }
    assert texts(tcp) == {
        "source port": "40000",
        "destination port": "80",
        "sequence": "7",
        "acknowledgement": "9",
        "header length": f"{packet[TCP].dataofs * 4} bytes",
        "flags": "SYN",
        "window": "512",
        "checksum": f"0x{packet[TCP].chksum:04x}",
        "urgent pointer": "0",
        "MSS": "1460",
        "SACK permitted": "yes",
        "timestamps": "5 6",
        "window scale": "7",
    }
    assert (data.name, data.start) == ("data", len(packet) - 4)


def test_ipv6_and_udp() -> None:
    packet = IPv6(bytes(V6 / UDP(sport=5, dport=6) / Raw(b"abc")))
    ip, udp, _data = dissect(bytes(packet))
    assert texts(ip)["flow label"] == "0x12345"
    assert texts(ip)["traffic class"] == "0x03"
    assert (texts(ip)["hop limit"], texts(ip)["payload length"]) == ("9", "11")
    assert texts(udp) == {
        "source port": "5",
        "destination port": "6",
        "length": "11",
        "checksum": f"0x{packet[UDP].chksum:04x}",
    }


@pytest.mark.parametrize(
    ("packet", "titles"),
    [
        (
            IP() / ICMP(type=3, code=4, nexthopmtu=1400) / V4 / SYN,
            ["IPv4", "ICMP", "quoted IPv4", "quoted TCP"],
        ),
        (
            IPv6() / ICMPv6DestUnreach(code=4) / V6 / UDP(dport=53),
            ["IPv6", "ICMPv6", "quoted IPv6", "quoted UDP"],
        ),
        (
            V6 / IPv6ExtHdrFragment(offset=0, m=1) / UDP() / Raw(b"x" * 8),
            ["IPv6", "IPv6 fragment", "UDP", "data"],
        ),
        (V6 / IPv6ExtHdrFragment(offset=9, nh=17) / Raw(b"x"), ["IPv6", "IPv6 fragment", "data"]),
        (IP(frag=100, proto=17) / Raw(b"x" * 20), ["IPv4", "data"]),
        (IP(proto=47) / Raw(b"x" * 20), ["IPv4", "data"]),
    ],
)
def test_layers(packet: Packet, titles: list[str]) -> None:
    assert [layer.title for layer in dissect(bytes(packet))] == titles


def test_an_error_may_quote_only_eight_bytes() -> None:
    quoted = bytes(V4 / SYN)[:28]
    *_, tcp = dissect(bytes(IP() / ICMP(type=11) / Raw(quoted)))
    assert list(texts(tcp)) == ["source port", "destination port", "sequence"]


def test_every_byte_belongs_to_a_field_of_its_layer() -> None:
    data = bytes(V4 / SYN / Raw(b"data"))
    for layer in dissect(data):
        covered = {at for field in layer.fields for at in range(field.start, field.end)}
        padding = {at for at in range(layer.start, layer.end) if data[at] in {0, 1}}
        assert set(range(layer.start, layer.end)) - padding <= covered


HEADERS = st.sampled_from([bytes(V4 / SYN), bytes(V6 / SYN), bytes(IP() / ICMP(type=3) / V4 / SYN)])


@given(
    st.binary(max_size=80) | HEADERS.flatmap(lambda h: st.integers(0, len(h)).map(lambda n: h[:n]))
)
def test_any_bytes_can_be_described(data: bytes) -> None:
    end = 0
    for layer in dissect(data):
        assert 0 <= layer.start <= layer.end <= len(data)
        for field in layer.fields:
            assert layer.start <= field.start < field.end <= max(layer.end, field.end) <= len(data)
        end = max(end, layer.end)
    assert not data or end <= len(data)
    summary = summarise(data, len(data))
    assert summary.what
    assert summary.short


@given(HEADERS, st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_never_raises(data: bytes, at: int, value: int) -> None:
    changed = bytearray(data)
    changed[at % len(data)] = value
    summarise(bytes(changed), len(data))


@pytest.mark.parametrize(
    ("packet", "what", "short"),
    [
        (V4 / SYN, "TCP SYN", "SYN"),
        (V4 / TCP(flags="FA"), "TCP FIN ACK", "FIN ACK"),
        (
            V4 / TCP(flags="PA") / Raw(b"GET / HTTP/1.1\r\nHost: x"),
            'TCP PSH ACK, 23 bytes of data: "GET / HTTP/1.1"',
            '"GET / HTTP/1.1"',
        ),
        (V4 / TCP(flags="A") / Raw(b"\x00"), "TCP ACK, 1 byte of data", "ACK, 1 byte"),
        (V4 / UDP() / Raw(b"\xff" * 9), "UDP, 9 bytes of data", "9 bytes"),
        (V4 / ICMP(), "ICMP echo request", "echo request"),
        (
            V4 / ICMP(type=3, code=3) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5, dport=6),
            "ICMP port unreachable about a packet 10.0.0.1:5 to 10.0.0.2:6",
            "port unreachable",
        ),
        (
            IP(frag=185, flags="MF", proto=17) / Raw(b"x" * 8),
            "fragment from byte 1,480, more follow",
            "fragment at 1,480",
        ),
    ],
)
def test_in_a_few_words(packet: Packet, what: str, short: str) -> None:
    data = bytes(packet)
    summary = summarise(data, len(data))
    assert (summary.what, summary.short) == (what, short)


def test_padding_is_no_data() -> None:
    data = bytes(V4 / TCP(flags="A"))
    assert summarise(data + bytes(6), len(data) + 6).what == "TCP ACK"


def test_ends_are_endpoints() -> None:
    summary = summarise(bytes(V6 / SYN), 100)
    assert summary[:2] == ("[2001:db8::1]:40000", "[2001:db8::2]:80")
    assert ipaddress.ip_address(summarise(bytes(V4 / ICMP()), 28).source)
