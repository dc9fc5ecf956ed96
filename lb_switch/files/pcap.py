"""Capture files: reading and writing pcap, and the door to pcapng.

    with open_capture("in.pcap") as records, create_capture("out.pcapng", like=records) as out:
        for record in records:
            out.write(record)

The format is that of draft-ietf-opsawg-pcap: a file header, then for every packet a record header
(seconds, fraction, kept length, length on the wire) and the bytes.  The reader is our own and not
scapy's because a damaged file has to end in one clear error after everything whole was delivered:
scapy's readers end as if the file were complete, cut packets at 65,535 bytes, and keep the
interfaces of one pcapng section for the next.  scapy is the oracle of the tests.
"""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from os import PathLike, fspath
from types import TracebackType
from typing import BinaryIO, Self

from lb_switch.files import pcapng
from lb_switch.files.private_file import open_to_write
from lb_switch.files.record import (
    MAXIMUM_LENGTH,
    NANOSECONDS,
    CapturedPacket,
    CaptureFileError,
    CaptureInterface,
    Source,
)

_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""The first four bytes -> byte order, and nanoseconds in one unit of the fraction."""

_ETHERNET = 1


class CaptureReader:
    """An open capture file: iterate over it once for its records.

    `interfaces` grows as a pcapng file introduces them.  Iteration raises CaptureFileError where
    the file is damaged or cut off, after every whole packet before that place.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path = source.path
        self.interfaces: list[CaptureInterface] = []
        self.nanoseconds = True
        """Whether times are finer than a microsecond."""
        magic = source.read_if_any(4, "the magic number")
        if not magic:
            raise source.error("is empty: not a pcap or pcapng file")
        if magic == pcapng.MAGIC:
            self._records = pcapng.read(source, self.interfaces)
        elif magic in _MAGICS:
            order, unit = _MAGICS[magic]
            self.nanoseconds = unit == 1
            version, link_type = struct.unpack(f"{order}H14xI", source.read(20, "the file header"))
            if version != 2:
                raise source.error(f"has pcap version {version}, not 2")
            # The upper half tells about a frame check sequence.
            self.interfaces.append(CaptureInterface(0, link_type & 0xFFFF))
            self._records = _read_records(source, order, unit, self.interfaces[0])
        else:
            raise source.error("is not a pcap or pcapng file")

    def __iter__(self) -> Iterator[CapturedPacket]:
        return self._records

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()


class CaptureWriter(ABC):
    """A capture file being written.  Raises CaptureFileError where the disk or format refuses."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fspath(path)
        self._stream: BinaryIO
        try:
            self._stream = open(open_to_write(path), "wb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None

    @abstractmethod
    def encode(self, record: CapturedPacket) -> bytes:
        """Return the bytes that hold this packet in the file."""

    def write(self, record: CapturedPacket) -> None:
        """Append one packet."""
        try:
            data = self.encode(record)
        except struct.error:
            raise CaptureFileError(
                f"{self.path}: the format cannot hold the time {record.time} s"
            ) from None
        self._put(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the file."""
        try:
            self._stream.close()
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None

    def _put(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None


class PcapWriter(CaptureWriter):
    """Writes pcap: one link type for the whole file, micro- or nanoseconds."""

    def __init__(
        self, path: str | PathLike[str], link_type: int, *, nanoseconds: bool = False
    ) -> None:
        super().__init__(path)
        self._link_type = link_type
        self._unit = 1 if nanoseconds else 1_000
        magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
        self._put(struct.pack("<IHHiIII", magic, 2, 4, 0, 0, MAXIMUM_LENGTH, link_type))

    def encode(self, record: CapturedPacket) -> bytes:
        """Return record header and bytes.  Raises CaptureFileError for another link type."""
        if record.interface.link_type != self._link_type:
            raise CaptureFileError(
                f"{self.path}: a pcap file holds one link type and this needs two "
                f"({self._link_type} and {record.interface.link_type}): write a .pcapng file"
            )
        seconds, rest = divmod(record.time_ns, NANOSECONDS)
        header = struct.pack(
            "<IIII", seconds, rest // self._unit, len(record.data), record.wire_length
        )
        return header + record.data


class PcapNgWriter(CaptureWriter):
    """Writes pcapng: any number of interfaces, nanoseconds."""

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(path)
        self._numbers: dict[CaptureInterface, int] = {}
        self._put(pcapng.section_header())

    def encode(self, record: CapturedPacket) -> bytes:
        """Return the packet's block, after its interface's where that is new."""
        blocks = b""
        if record.interface not in self._numbers:
            self._numbers[record.interface] = len(self._numbers)
            blocks = pcapng.interface_description(record.interface)
        return blocks + pcapng.enhanced_packet(record, self._numbers[record.interface])


def open_capture(path: str | PathLike[str]) -> CaptureReader:
    """Open a pcap or pcapng file, told apart by its content.

    Raises CaptureFileError if it cannot be opened or is neither.
    """
    source = Source(path)
    try:
        return CaptureReader(source)
    except CaptureFileError:
        source.close()
        raise


def create_capture(
    path: str | PathLike[str], *, like: CaptureReader | None = None
) -> CaptureWriter:
    """Create a capture file: pcapng if the name ends in `.pcapng`, otherwise pcap.

    A pcap file gets the link type of the first interface of `like` and its precision of time
    (without `like`: Ethernet, microseconds).  Raises CaptureFileError if it cannot be created, or
    is the very file that `like` reads.
    """
    if like is not None and os.path.exists(path) and os.path.samefile(path, like.path):
        raise CaptureFileError(f"{fspath(path)}: is the input file: write to another")
    if fspath(path).lower().endswith(".pcapng"):
        return PcapNgWriter(path)
    if like is None:
        return PcapWriter(path, _ETHERNET)
    link_type = like.interfaces[0].link_type if like.interfaces else _ETHERNET
    return PcapWriter(path, link_type, nanoseconds=like.nanoseconds)


def _read_records(
    source: Source, order: str, unit: int, interface: CaptureInterface
) -> Iterator[CapturedPacket]:
    number = 1
    while header := source.read_if_any(16, f"packet {number}"):
        seconds, fraction, kept, wire_length = struct.unpack(f"{order}IIII", header)
        if kept > MAXIMUM_LENGTH:
            raise source.error(f"is damaged: packet {number} claims to be {kept} bytes long")
        data = source.read(kept, f"packet {number}")
        yield CapturedPacket(seconds * NANOSECONDS + fraction * unit, interface, data, wire_length)
        number += 1
