"""Where the blocks of both sides go: a file, whether its packets are live or those of a replay."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from os import PathLike, fspath
from types import TracebackType
from typing import BinaryIO, Self

from lb_switch.engine.events import PacketEvent
from lb_switch.engine.listeners import WHOLE
from lb_switch.engine.switch import Switch
from lb_switch.export.both_sides import BothSides
from lb_switch.files.private_file import open_to_write
from lb_switch.files.record import NANOSECONDS, CaptureFileError
from lb_switch.stream.encode import Encoder
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import Header, Record, decode
from lb_switch.stream.wires import not_routed

_log = logging.getLogger(__name__)


class LiveFile:
    """Writes what a stream tells into a descriptor, until the stream ends.

    `read` returns what has come, and waits for it; nothing is the end.  `epoch_ns` is what to add
    to the clock of the stream, in nanoseconds, for the time since the epoch.  `make` makes the
    blocks.  What is here is written before more is waited for, so that whoever reads the file, or
    FIFO, sees packets as they come.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        target: int,
        name: str,
        epoch_ns: int,
        make: Callable[[Header], BothSides] = BothSides,
    ) -> None:
        self._read = read
        self._target = target
        self._name = name
        self._epoch_ns = epoch_ns
        self._make = make
        self._waiting: list[bytes] = []
        self.faults = 0
        """Records that are not in the file because of an error of this program."""

    def write(self) -> None:
        """Write it all.  Raises OSError, and RecordingError where the stream is cut off."""
        recording = Recording(self._lines(), "the switch")
        sides = self._make(recording.header)
        self._waiting.append(sides.head())
        for record in recording:
            self._waiting.append(self._blocks(sides, record))
        self._flush()

    def _blocks(self, sides: BothSides, record: Record) -> bytes:
        time = getattr(record, "time", 0.0)
        try:
            return sides.blocks(record, round(time * NANOSECONDS) + self._epoch_ns)
        except Exception:
            # One packet is missing, not all that come after it.
            if not self.faults:
                _log.exception("a packet is not written to %s", self._name)
            self.faults += 1
            return b""

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while data := self._read():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line + b"\n"
            self._flush()
        if rest:
            yield rest

    def _flush(self) -> None:
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        while data:
            data = data[os.write(self._target, data) :]


class RecordedFile:
    """The same file from a replay: written directly, as there is no packet path to hold up.

    `hosts` are the machines' names by address.  Raises CaptureFileError, one clear line, where the
    disk or the format refuses.
    """

    def __init__(
        self, path: str | PathLike[str], switch: Switch, hosts: Mapping[str, str] | None = None
    ) -> None:
        self.path = fspath(path)
        self._encoder = Encoder(switch.listeners.number_of, not_routed, WHOLE)
        header = self._encoder.header(switch, hosts or {}, 0.0)
        self._sides = BothSides(Recording([header], self.path).header)
        self._stream: BinaryIO
        try:
            self._stream = open(open_to_write(path), "wb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None
        self._write(self._sides.head())

    def note(self, event: PacketEvent, number: int, time_ns: int) -> None:
        """Write down a packet that was recorded `time_ns` after the epoch.

        `number` is the recorded packet's; it becomes the packet id.
        """
        record = decode(self._encoder.encode(event._replace(number=number)))
        try:
            self._write(self._sides.blocks(record, time_ns))
        except struct.error:
            raise CaptureFileError(
                f"{self.path}: the format cannot hold the time {time_ns / NANOSECONDS} s"
            ) from None

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stream.close()
        except OSError as failure:
            raise CaptureFileError(f"{self.path}: {failure.strerror}") from None
