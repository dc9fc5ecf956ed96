"""A packet's headers, field by field, each with the bytes it stands in.

Works on the beginning of a packet (a recording keeps no more), and on any bytes whatever: what
cannot be read is one last field of bytes.  The packet quoted in an ICMP error is dissected too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from lb_switch.engine.packet import icmp, ipv6
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP, UDP

_PROTOCOLS = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6"}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")

ICMP_TYPES = {
    icmp.ECHO_REPLY: "echo reply",
    icmp.DESTINATION_UNREACHABLE: "destination unreachable",
    icmp.ECHO_REQUEST: "echo request",
    icmp.TIME_EXCEEDED: "time exceeded",
    icmp.PARAMETER_PROBLEM: "parameter problem",
}
ICMPV6_TYPES = {
    icmp.V6_DESTINATION_UNREACHABLE: "destination unreachable",
    icmp.V6_PACKET_TOO_BIG: "packet too big",
    icmp.V6_TIME_EXCEEDED: "time exceeded",
    icmp.V6_PARAMETER_PROBLEM: "parameter problem",
    icmp.V6_ECHO_REQUEST: "echo request",
    icmp.V6_ECHO_REPLY: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    137: "redirect",
}


class HeaderField(NamedTuple):
    """One field: its name, its bytes [start:end] in the packet, its value and that as text."""

    name: str
    start: int
    end: int
    value: int
    text: str


class Layer(NamedTuple):
    """One header: [start:end] of the packet.  `quoted`: it stands inside an ICMP error."""

    name: str
    """IPv4, IPv6, TCP, UDP, ICMP, ICMPv6, an extension header's name, or data."""
    start: int
    end: int
    fields: tuple[HeaderField, ...]
    quoted: bool = False

    def find(self, name: str) -> HeaderField | None:
        """Return a field by its name."""
        return next((field for field in self.fields if field.name == name), None)

    def value(self, name: str) -> int:
        """Return a field's value; 0 where the header was cut before it."""
        field = self.find(name)
        return 0 if field is None else field.value

    def text(self, name: str) -> str:
        """Return a field's value as text; "?" where the header was cut before it."""
        field = self.find(name)
        return "?" if field is None else field.text

    @property
    def title(self) -> str:
        """The name, and whether it is quoted."""
        return f"quoted {self.name}" if self.quoted else self.name

    @property
    def is_ip(self) -> bool:
        """Whether this is an IP header."""
        return self.name in {"IPv4", "IPv6"}


class _Cursor:
    """Reads fields of one header; a read beyond the bytes raises _Short."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.start = start
        self.fields: list[HeaderField] = []

    def raw(self, offset: int, size: int) -> bytes:
        start = self.start + offset
        if start + size > len(self.data):
            raise _ShortError
        return self.data[start : start + size]

    def number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.raw(offset, size), "big")

    def add(self, name: str, offset: int, size: int, text: str | None = None) -> int:
        value = self.number(offset, size)
        start = self.start + offset
        self.fields.append(HeaderField(name, start, start + size, value, text or str(value)))
        return value

    def hex(self, name: str, offset: int, size: int = 2) -> int:
        return self.add(name, offset, size, f"0x{self.number(offset, size):0{2 * size}x}")

    def bits(self, name: str, offset: int, size: int, value: int, text: str | None = None) -> None:
        self.raw(offset, size)
        start = self.start + offset
        self.fields.append(HeaderField(name, start, start + size, value, text or str(value)))

    def address(self, name: str, offset: int, size: int) -> None:
        self.add(name, offset, size, str(ipaddress.ip_address(self.raw(offset, size))))

    def layer(self, name: str, size: int, quoted: bool) -> Layer:
        end = min(self.start + size, len(self.data))
        return Layer(name, self.start, end, tuple(self.fields), quoted)


class _ShortError(Exception):
    """The bytes end before the header does."""


def dissect(data: bytes) -> tuple[Layer, ...]:
    """Return the headers of the IP packet that begins with `data`."""
    layers: list[Layer] = []
    at = 0
    for layer in _headers(data, 0, quoted=False):
        layers.append(layer)
        at = layer.end
    if at < len(data):
        rest = data[at:]
        text = f"{len(rest)} bytes" if len(rest) != 1 else "1 byte"
        field = HeaderField("bytes here", at, len(data), 0, text)
        layers.append(Layer("data", at, len(data), (field,)))
    return tuple(layers)


def _headers(data: bytes, start: int, quoted: bool) -> Iterator[Layer]:
    if len(data) <= start:
        return
    cursor = _Cursor(data, start)
    version = data[start] >> 4
    try:
        if version == 4:
            layer, protocol, later = _ipv4(cursor, quoted)
            yield layer
        elif version == 6:
            layer = _ipv6(cursor, quoted)
            yield layer
            protocol, later = layer.value("next header"), False
            while protocol in ipv6.EXTENSION_HEADERS and not later:
                cursor = _Cursor(data, layer.end)
                layer, protocol, later = _extension(cursor, protocol, quoted)
                yield layer
        else:
            return
        if later:
            return
        yield from _l4(data, layer.end, protocol, quoted)
    except _ShortError:
        if cursor.fields:
            yield cursor.layer("cut off", len(data), quoted)


def _ipv4(cursor: _Cursor, quoted: bool) -> tuple[Layer, int, bool]:
    first = cursor.number(0, 1)
    length = (first & 0x0F) * 4
    cursor.bits("version", 0, 1, first >> 4)
    cursor.bits("header length", 0, 1, length, f"{length} bytes")
    cursor.hex("DSCP and ECN", 1, 1)
    cursor.add("total length", 2, 2)
    cursor.hex("identification", 4)
    flags = cursor.number(6, 2)
    names = [name for bit, name in ((0x4000, "DF"), (0x2000, "MF")) if flags & bit]
    cursor.bits("flags", 6, 2, flags >> 13, " ".join(names) or "none")
    cursor.bits("fragment offset", 6, 2, (flags & 0x1FFF) * 8)
    cursor.add("time to live", 8, 1)
    protocol = cursor.add("protocol", 9, 1, _protocol(cursor.number(9, 1)))
    cursor.hex("header checksum", 10)
    cursor.address("source", 12, 4)
    cursor.address("destination", 16, 4)
    if length > 20:
        cursor.add("options", 20, length - 20, f"{length - 20} bytes")
    return cursor.layer("IPv4", max(20, length), quoted), protocol, bool(flags & 0x1FFF)


def _ipv6(cursor: _Cursor, quoted: bool) -> Layer:
    first = cursor.number(0, 4)
    cursor.bits("version", 0, 4, first >> 28)
    cursor.bits("traffic class", 0, 4, first >> 20 & 0xFF, f"0x{first >> 20 & 0xFF:02x}")
    cursor.bits("flow label", 0, 4, first & 0xFFFFF, f"0x{first & 0xFFFFF:05x}")
    cursor.add("payload length", 4, 2)
    cursor.add("next header", 6, 1, _protocol(cursor.number(6, 1)))
    cursor.add("hop limit", 7, 1)
    cursor.address("source", 8, 16)
    cursor.address("destination", 24, 16)
    return cursor.layer("IPv6", 40, quoted)


def _extension(cursor: _Cursor, kind: int, quoted: bool) -> tuple[Layer, int, bool]:
    protocol = cursor.add("next header", 0, 1, _protocol(cursor.number(0, 1)))
    if kind == ipv6.FRAGMENT:
        offset = cursor.number(2, 2)
        cursor.bits("fragment offset", 2, 2, offset & 0xFFF8)
        cursor.bits("flags", 2, 2, offset & 1, "MF" if offset & 1 else "none")
        cursor.hex("identification", 4, 4)
        return cursor.layer("IPv6 fragment", 8, quoted), protocol, offset & 0xFFF8 != 0
    size = (cursor.number(1, 1) + 1) * 8
    cursor.raw(0, size)
    cursor.bits("length", 1, 1, size, f"{size} bytes")
    return cursor.layer(f"IPv6 extension {kind}", size, quoted), protocol, False


def _l4(data: bytes, start: int, protocol: int, quoted: bool) -> Iterator[Layer]:
    if start >= len(data):
        return
    cursor = _Cursor(data, start)
    name = _PROTOCOLS.get(protocol, "")
    size = 8
    try:
        if protocol == TCP:
            size = _tcp(cursor)
        elif protocol == UDP:
            cursor.add("source port", 0, 2)
            cursor.add("destination port", 2, 2)
            cursor.add("length", 4, 2)
            cursor.hex("checksum", 6)
        elif name:
            _icmp(cursor, ICMP_TYPES if protocol == ICMP else ICMPV6_TYPES)
        else:
            return
    except _ShortError:
        if cursor.fields:  # RFC 792 lets an error quote as little as 8 bytes of it
            yield cursor.layer(name, cursor.fields[-1].end - start, quoted)
        return
    yield cursor.layer(name, size, quoted)
    errors = icmp.ERROR_TYPES if protocol == ICMP else icmp.V6_ERROR_TYPES
    if protocol in {ICMP, ICMPV6} and not quoted and data[start] in errors:
        yield from _headers(data, start + icmp.HEADER_LENGTH, quoted=True)


def _tcp(cursor: _Cursor) -> int:
    cursor.add("source port", 0, 2)
    cursor.add("destination port", 2, 2)
    cursor.add("sequence", 4, 4)
    cursor.add("acknowledgement", 8, 4)
    length = (cursor.number(12, 1) >> 4) * 4
    cursor.bits("header length", 12, 1, length, f"{length} bytes")
    flags = cursor.number(13, 1)
    cursor.bits("flags", 13, 1, flags, tcp_flags(flags))
    cursor.add("window", 14, 2)
    cursor.hex("checksum", 16)
    cursor.add("urgent pointer", 18, 2)
    _tcp_options(cursor, length)
    return max(20, length)


_OPTIONS = {
    2: ("MSS", 4),
    3: ("window scale", 3),
    4: ("SACK permitted", 2),
    5: ("SACK", 0),
    8: ("timestamps", 10),
}


def _tcp_options(cursor: _Cursor, length: int) -> None:
    at = 20
    while at < length:
        kind = cursor.number(at, 1)
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        size = cursor.number(at + 1, 1)
        if size < 2 or at + size > length:
            return
        name, right_size = _OPTIONS.get(kind, (f"option {kind}", 0))
        if kind == 8 and size == right_size:
            text = f"{cursor.number(at + 2, 4)} {cursor.number(at + 6, 4)}"
        elif kind in {2, 3} and size == right_size:
            text = str(cursor.number(at + 2, size - 2))
        else:
            text = "yes" if kind == 4 else f"{size} bytes"
        cursor.add(name, at, size, text)
        at += size


def _icmp(cursor: _Cursor, names: dict[int, str]) -> None:
    kind = cursor.number(0, 1)
    cursor.add("type", 0, 1, names.get(kind, str(kind)))
    cursor.add("code", 1, 1)
    cursor.hex("checksum", 2)
    if "echo" in names.get(kind, ""):
        cursor.add("identifier", 4, 2)
        cursor.add("sequence", 6, 2)
    elif names.get(kind) == "packet too big":
        cursor.add("MTU", 4, 4)
    elif kind == icmp.DESTINATION_UNREACHABLE and cursor.number(1, 1) == 4:
        cursor.add("next-hop MTU", 6, 2)
    else:
        cursor.hex("unused", 4, 4)


def tcp_flags(flags: int) -> str:
    """`SYN`, `SYN ACK`, `PSH ACK` and so on."""
    names = [name for bit, name in enumerate(_FLAGS) if flags >> bit & 1]
    return " ".join(sorted(names, key=_ORDER.index)) or "none"


_ORDER = ["SYN", "FIN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"]


def _protocol(number: int) -> str:
    name = _PROTOCOLS.get(number)
    return f"{name} ({number})" if name else str(number)
