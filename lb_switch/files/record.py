"""What a capture file holds: packets as they were recorded, and the interfaces they came from."""

from __future__ import annotations

from os import PathLike, fspath
from typing import BinaryIO, NamedTuple

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""

MAXIMUM_LENGTH = 262_144
"""The longest packet that is taken, in bytes: libpcap's MAXIMUM_SNAPLEN.  A corrupt length must
not make the reader allocate gigabytes."""


class CaptureFileError(Exception):
    """A capture file cannot be opened, read on, or written.  `str()` is one clear line."""


class CaptureInterface(NamedTuple):
    """Where packets were captured."""

    number: int
    """Counts from 0 through the whole file."""
    link_type: int
    """LINKTYPE_ value of the tcpdump registry: what kind of header each packet begins with."""
    name: str = ""


class CapturedPacket(NamedTuple):
    """One captured packet with its link-layer header."""

    time_ns: int
    """When it was captured, in nanoseconds since the epoch."""
    interface: CaptureInterface
    data: bytes
    """What was kept of it, beginning with the link-layer header."""
    wire_length: int
    """How long it was on the wire, in bytes."""

    @property
    def time(self) -> float:
        """When it was captured, in seconds since the epoch."""
        return self.time_ns / NANOSECONDS

    @property
    def cut(self) -> bool:
        """Whether the capture kept only the beginning of the packet (its snap length)."""
        return len(self.data) < self.wire_length


class Source:
    """A file read piece by piece, where a missing piece is an error that says what is missing."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fspath(path)
        self._stream: BinaryIO
        try:
            self._stream = open(path, "rb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None

    def read(self, length: int, what: str) -> bytes:
        """Return exactly `length` bytes.  Raises CaptureFileError at an early end."""
        data = self.read_if_any(length, what)
        if length and not data:
            raise self.error(f"ends before {what}")
        return data

    def read_if_any(self, length: int, what: str) -> bytes:
        """Like `read`, but return nothing where the file ends."""
        try:
            data = self._stream.read(length)
        except OSError as error:
            raise self.error(error.strerror or str(error)) from None
        if data and len(data) < length:
            raise self.error(f"ends in the middle of {what}")
        return data

    def error(self, problem: str) -> CaptureFileError:
        """Make the error that says what is wrong with this file."""
        return CaptureFileError(f"{self.path}: {problem}")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
