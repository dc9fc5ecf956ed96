"""The pcapng format (draft-ietf-opsawg-pcapng): blocks to records and back.

A file is a row of blocks, each with its type and its length at both ends.  A section header starts
afresh with a byte order of its own; interface descriptions carry link type and clock; enhanced
packets (and their predecessors, the simple and the obsolete packet) carry what was captured.
Blocks of any other type are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.files.record import (
    MAXIMUM_LENGTH,
    NANOSECONDS,
    CapturedPacket,
    CaptureInterface,
    Source,
)
from lb_switch.harmless import harmless

MAGIC = b"\x0a\x0d\x0d\x0a"
"""The type of a section header block, the same in both byte orders."""

_SECTION_HEADER = 0x0A0D0D0A
_INTERFACE_DESCRIPTION = 1
_OBSOLETE_PACKET = 2
_SIMPLE_PACKET = 3
_NAME_RESOLUTION = 4
_ENHANCED_PACKET = 6

_BYTE_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_MAXIMUM_BLOCK = 16 * 1024 * 1024
"""No block is taken that says it is longer, in bytes (libpcap draws the line there too)."""

# Options of all blocks, of section headers, of interfaces, of enhanced packets
_END_OF_OPTIONS, _COMMENT = 0, 1
_SHB_APPLICATION = 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_TSOFFSET = 2, 3, 9, 14
_EPB_FLAGS, _EPB_DROP_COUNT, _EPB_PACKET_ID = 2, 4, 5

_LONGEST_OPTION = 65_535
"""Bytes: an option's length has 16 bits."""

INBOUND, OUTBOUND = 1, 2
"""Directions of a packet at its interface (the lowest two bits of `epb_flags`)."""


class _Described(NamedTuple):
    """An interface of the current section, with its clock."""

    interface: CaptureInterface
    snap_length: int
    units: int
    """Clock units in a second."""
    offset: int
    """Seconds to add to every timestamp."""

    def time_ns(self, high: int, low: int) -> int:
        ticks = high << 32 | low
        time_ns = self.offset * NANOSECONDS + ticks * NANOSECONDS // self.units
        if abs(time_ns) >> 64:
            raise ValueError("its time is centuries away")
        return time_ns


def read(source: Source, interfaces: list[CaptureInterface]) -> Iterator[CapturedPacket]:
    """Yield the records of a file whose first four bytes, `MAGIC`, were read already.

    Appends each interface to `interfaces` as it is described.  The first section header is read
    at once; raises CaptureFileError, then or during iteration, where the file is damaged.
    """
    return _records(source, interfaces, _section(source))


def _records(
    source: Source, interfaces: list[CaptureInterface], order: str
) -> Iterator[CapturedPacket]:
    described: list[_Described] = []
    time_ns = 0
    number = 1
    while kind_bytes := source.read_if_any(4, "a block"):
        if kind_bytes == MAGIC:
            order = _section(source)
            described = []  # interface numbers are per section
            continue
        (kind,) = struct.unpack(f"{order}I", kind_bytes)
        in_packet = kind in (_ENHANCED_PACKET, _OBSOLETE_PACKET, _SIMPLE_PACKET)
        body = _body(source, order, f"packet {number}" if in_packet else "a block")
        record = None
        try:
            if kind == _INTERFACE_DESCRIPTION:
                described.append(_interface(order, body, len(interfaces)))
                interfaces.append(described[-1].interface)
            elif in_packet:
                record = _packet(order, kind, body, described, time_ns)
        except (struct.error, IndexError, ValueError) as error:
            what = f"packet {number}" if in_packet else "an interface description"
            raise source.error(f"is damaged: {what}: {error}") from None
        if record is not None:
            time_ns = record.time_ns
            yield record
            number += 1


def _section(source: Source) -> str:
    """Read a section header behind its type; return its byte order."""
    head = source.read(8, "the section header")
    order = _BYTE_ORDERS.get(head[4:])
    if order is None:
        raise source.error("is not a pcapng file: no byte-order magic in the section header")
    (length,) = struct.unpack(f"{order}I", head[:4])
    _check_length(source, length, 28)
    rest = source.read(length - 12, "the section header")
    _check_end(source, order, length, rest[-4:])
    (major,) = struct.unpack_from(f"{order}H", rest)
    if major != 1:
        raise source.error(f"has pcapng version {major}, not 1")
    return order


def _body(source: Source, order: str, what: str) -> bytes:
    """Read a block behind its type; return its body."""
    (length,) = struct.unpack(f"{order}I", source.read(4, what))
    _check_length(source, length, 12)
    rest = source.read(length - 8, what)
    _check_end(source, order, length, rest[-4:])
    return rest[:-4]


def _check_length(source: Source, length: int, least: int) -> None:
    if length % 4 or not least <= length <= _MAXIMUM_BLOCK:
        raise source.error(f"is damaged: a block claims to be {length} bytes long")


def _check_end(source: Source, order: str, length: int, end: bytes) -> None:
    (repeated,) = struct.unpack(f"{order}I", end)
    if repeated != length:
        raise source.error(
            f"is damaged: a block is {length} bytes long at its start and {repeated} at its end"
        )


def _interface(order: str, body: bytes, number: int) -> _Described:
    link_type, snap_length = struct.unpack_from(f"{order}HxxI", body)
    options = _options(order, body[8:])
    name = harmless(options.get(_IF_NAME, b"").decode(errors="replace").rstrip("\0"))
    resolution = options.get(_IF_TSRESOL, b"\x06")[0]
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    (offset,) = struct.unpack(f"{order}q", options.get(_IF_TSOFFSET, bytes(8)))
    return _Described(CaptureInterface(number, link_type, name), snap_length, units, offset)


def _options(order: str, data: bytes) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        code, length = struct.unpack_from(f"{order}HH", data, offset)
        if code == _END_OF_OPTIONS:
            break
        options.setdefault(code, data[offset + 4 : offset + 4 + length])
        offset += 4 + length + -length % 4
    return options


def _packet(
    order: str, kind: int, body: bytes, described: list[_Described], last_ns: int
) -> CapturedPacket:
    """Decode a packet block.  A simple packet has no time: it gets that of the one before."""
    if kind == _SIMPLE_PACKET:
        number, start = 0, 4
        (wire_length,) = struct.unpack_from(f"{order}I", body)
    elif kind == _ENHANCED_PACKET:
        number, high, low, kept, wire_length = struct.unpack_from(f"{order}5I", body)
        start = 20
    else:
        number, _drops, high, low, kept, wire_length = struct.unpack_from(f"{order}HH4I", body)
        start = 20
    if number >= len(described):
        raise ValueError(f"interface {number} was never described")
    origin = described[number]
    if kind == _SIMPLE_PACKET:
        kept = min(wire_length, origin.snap_length or wire_length)
        time_ns = last_ns
    else:
        time_ns = origin.time_ns(high, low)
    if kept > min(MAXIMUM_LENGTH, len(body) - start):
        raise ValueError(f"it claims {kept} bytes in a block of {len(body) - start}")
    return CapturedPacket(time_ns, origin.interface, body[start : start + kept], wire_length)


def section_header(*, application: str = "", comment: str = "") -> bytes:
    """Return the block that opens a file: little-endian, version 1.0, of unknown length.

    `application` is the program that wrote it.
    """
    options = _texts({_SHB_APPLICATION: application, _COMMENT: comment})
    body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _ended(options)
    return _block(_SECTION_HEADER, body)


def interface_description(interface: CaptureInterface, description: str = "") -> bytes:
    """Return the block that describes an interface; its clock counts nanoseconds."""
    body = struct.pack("<HHI", interface.link_type, 0, MAXIMUM_LENGTH)
    options = _texts({_IF_NAME: interface.name, _IF_DESCRIPTION: description})
    return _block(_INTERFACE_DESCRIPTION, body + _ended(options + _option(_IF_TSRESOL, b"\x09")))


def enhanced_packet(
    record: CapturedPacket,
    number: int,
    *,
    comment: str = "",
    direction: int = 0,
    packet_id: int | None = None,
    lost: int = 0,
) -> bytes:
    """Return the block of one packet, captured on the interface of that number.

    `direction` is INBOUND, OUTBOUND or 0 (not known).  `packet_id` is shared by packets that are
    the same one, seen at several interfaces.  `lost` is how many packets of this interface between
    the one before and this one are missing.

    Raises struct.error for a time that the format cannot hold (before 1970, after 2554).
    """
    header = struct.pack(
        "<5I",
        number,
        record.time_ns >> 32,
        record.time_ns & 0xFFFFFFFF,
        len(record.data),
        record.wire_length,
    )
    options = _texts({_COMMENT: comment})
    if direction:
        options += _option(_EPB_FLAGS, struct.pack("<I", direction))
    if lost:
        options += _option(_EPB_DROP_COUNT, struct.pack("<Q", lost))
    if packet_id is not None:
        options += _option(_EPB_PACKET_ID, struct.pack("<Q", packet_id))
    data = record.data
    if options:
        data += bytes(-len(data) % 4)
    return _block(_ENHANCED_PACKET, header + data + _ended(options))


def name_resolution(names: Iterable[tuple[IPAddress, str]]) -> bytes:
    """Return the block that tells readers the names of addresses; it may stand anywhere."""
    records = b"".join(
        _option(1 if ip.version == 4 else 2, ip.packed + name.encode()[:255] + b"\0")
        for ip, name in names
    )
    return _block(_NAME_RESOLUTION, records + _option(_END_OF_OPTIONS, b""))


def _texts(texts: dict[int, str]) -> bytes:
    """Encode options that are text, without the empty ones."""
    return b"".join(_option(code, _fitting(text)) for code, text in texts.items() if text)


def _fitting(text: str) -> bytes:
    """Encode as UTF-8, cut where the format draws the line, but never inside a character."""
    return text.encode()[:_LONGEST_OPTION].decode(errors="ignore").encode()


def _ended(options: bytes) -> bytes:
    return options + _option(_END_OF_OPTIONS, b"") if options else b""


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
