"""Where the blocks of both sides go: live, through an outlet; of a replay, straight to a file."""

from __future__ import annotations

import logging
import struct
from os import PathLike, fspath
from types import TracebackType
from typing import BinaryIO, Self

from lb_switch.engine.events import Event, PacketEvent, SentEvent
from lb_switch.export.both_sides import BothSides
from lb_switch.export.file_outlet import FileOutlet
from lb_switch.files.private_file import open_to_write
from lb_switch.files.record import NANOSECONDS, CaptureFileError

_log = logging.getLogger(__name__)


class LiveListener:
    """A listener of the switch that writes the file as things happen.

    `epoch_ns` is what to add to the engine's clock, in nanoseconds, for the time since the epoch.
    """

    def __init__(self, sides: BothSides, outlet: FileOutlet, epoch_ns: int) -> None:
        self._sides = sides
        self._outlet = outlet
        self._epoch_ns = epoch_ns
        self._faults = 0
        outlet.put(sides.head())

    def __call__(self, event: Event) -> None:
        """Write down a packet; other events are told by the packets' stories."""
        if not isinstance(event, PacketEvent | SentEvent):
            return
        try:
            time_ns = round(event.time * NANOSECONDS) + self._epoch_ns
            if isinstance(event, SentEvent):
                self._sides.put_sent(event, time_ns, self._outlet.put)
            else:
                self._sides.put(event, time_ns, self._outlet.put)
        except Exception:
            # A bug in a listener must not cost the packet it is told of.
            if not self._faults:
                what = f"packet {event.number}" if isinstance(event, PacketEvent) else "own packet"
                _log.exception("%s: not written to %s", what, self._outlet.name)
            self._faults += 1

    @property
    def complaint(self) -> str:
        """One line about what is missing in the file; empty if nothing is."""
        if self._faults:
            return f"{self._outlet.name}: {self._faults} packets not written: an internal error"
        return self._outlet.complaint


class RecordedFile:
    """The same file from a replay: written directly, as there is no packet path to hold up.

    Raises CaptureFileError, one clear line, where the disk or the format refuses.
    """

    def __init__(self, path: str | PathLike[str], sides: BothSides) -> None:
        self.path = fspath(path)
        self._sides = sides
        self._stream: BinaryIO
        try:
            self._stream = open(open_to_write(path), "wb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None
        self._write(sides.head())

    def note(self, event: PacketEvent, number: int, time_ns: int) -> None:
        """Write down a packet that was recorded `time_ns` after the epoch.

        `number` is the recorded packet's; it becomes the packet id.
        """
        try:
            self._sides.put(event._replace(number=number), time_ns, self._write)
        except struct.error:
            raise CaptureFileError(
                f"{self.path}: the format cannot hold the time {time_ns / NANOSECONDS} s"
            ) from None

    def _write(self, data: bytes) -> bool:
        try:
            self._stream.write(data)
        except OSError as error:
            raise CaptureFileError(f"{self.path}: {error.strerror}") from None
        return True

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
