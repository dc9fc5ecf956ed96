"""Packets for tests, made by scapy: an implementation that shares nothing with ours."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

HEADROOM = 10
"""Where a packet starts in the buffer of a TUN capture: behind the vnet header."""


def ip(source: str, destination: str, **fields: Any) -> Packet:
    """Return an IP header of the addresses' family, IPv4 with DF as a host sends TCP."""
    if ":" in source:
        return IPv6(src=source, dst=destination, **fields)
    return IP(src=source, dst=destination, **{"flags": "DF", **fields})


def tcp(
    source: tuple[str, int],
    destination: tuple[str, int],
    flags: str,
    payload: bytes = b"",
    **fields: Any,
) -> bytes:
    """Return a TCP packet as bytes."""
    header = TCP(sport=source[1], dport=destination[1], flags=flags, **fields)
    return bytes(ip(source[0], destination[0]) / header / Raw(payload))


def udp(
    source: tuple[str, int], destination: tuple[str, int], payload: bytes = b"", **fields: Any
) -> bytes:
    """Return a UDP packet as bytes."""
    header = UDP(sport=source[1], dport=destination[1], **fields)
    return bytes(ip(source[0], destination[0]) / header / Raw(payload))


def dissect(data: bytes | bytearray) -> Packet:
    """Let scapy read an IP packet."""
    return (IP if data[0] >> 4 == 4 else IPv6)(bytes(data))


def recomputed(data: bytes | bytearray) -> bytes:
    """Return the packet with every checksum of its own computed anew by scapy.

    Those of a packet quoted in an ICMP error stay: it may be cut off.
    """
    packet = dissect(data)
    layer = packet
    while layer and not layer.name.endswith("in ICMP"):
        for name in ("chksum", "cksum"):
            if name in layer.fields and not (isinstance(layer, UDP) and layer.chksum == 0):
                delattr(layer, name)
        layer = layer.payload
    return bytes(packet)


def edited(
    data: bytes | bytearray,
    *,
    source: tuple[str, int] | None = None,
    destination: tuple[str, int] | None = None,
) -> bytes:
    """Return the packet as scapy would translate it: edit the fields, recompute everything."""
    packet = dissect(data)
    l4 = packet[TCP] if TCP in packet else packet[UDP]
    if source is not None:
        packet.src, l4.sport = source
    if destination is not None:
        packet.dst, l4.dport = destination
    return recomputed(bytes(packet))


def corrupted(data: bytes, at: int) -> bytes:
    """Return the packet with one bit of the byte at this offset flipped."""
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def differences(seen: bytes, expected: bytes) -> list[str]:
    """Return a line for each header field, and for each part of the payload, that differs."""
    if seen == expected:
        return []
    one, other = _fields(seen), _fields(expected)
    return [
        f"{name}: {one.get(name, 'missing')}, expected {other.get(name, 'missing')}"
        for name in dict.fromkeys((*other, *one))
        if one.get(name) != other.get(name)
    ]


def _fields(data: bytes) -> dict[str, str]:
    """Name every field of a packet, or of several put one after the other."""
    fields: dict[str, str] = {}
    number = 0
    while len(data) >= 20 and data[0] >> 4 in {4, 6}:
        number += 1
        six = data[0] >> 4 == 6
        length = 40 + int.from_bytes(data[4:6], "big") if six else int.from_bytes(data[2:4], "big")
        layer: Any = dissect(data[:length])
        prefix = "" if number == 1 else f"packet {number} "
        while layer:
            for field in layer.fields_desc:
                value = layer.fields.get(field.name)
                fields[f"{prefix}{layer.name} {field.name}"] = str(field.i2repr(layer, value))
            layer = layer.payload
        data = data[max(length, 20) :]
    return {**fields, "behind": data.hex()}
