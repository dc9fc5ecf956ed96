"""Reading a recording: its header, then its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from lb_switch.harmless import harmless, shortened
from lb_switch.stream.schema import (
    FORMAT,
    VERSION,
    EndRecord,
    Header,
    Record,
    decode,
)

_CAPTURE_FILES = (
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\xc3\xd4",
    b"\x4d\x3c\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x0a\x0d\x0d\x0a",
)
"""How pcap and pcapng files begin."""


class RecordingError(Exception):
    """A recording cannot be read, or not on.  `str()` is one clear line."""


class Recording:
    """A recording as it is read, line by line: a file, a FIFO, or what a running switch tells.

    Iteration yields everything that is whole and raises RecordingError where that ends too early.
    """

    def __init__(self, lines: Iterable[bytes], name: str) -> None:
        self._lines = iter(lines)
        self.name = name
        self.header = self._read_header()

    def __iter__(self) -> Iterator[Record]:
        number, count, ended = 1, 0, False
        for number, line in enumerate(self._lines, 2):
            if ended:
                raise self._error(f"line {number}: something follows the end of the recording")
            if not line.endswith(b"\n"):
                raise self._error(f"cut off in line {number}; {_whole(count)}")
            try:
                record = decode(line)
            except ValidationError as error:
                raise self._error(f"line {number}: {_first(error)}") from None
            count += 1
            ended = isinstance(record, EndRecord)
            yield record
        if not ended:
            raise self._error(
                f"cut off after line {number}: the last line is missing, which a killed switch"
                f" does not write; {_whole(count)}"
            )

    def _read_header(self) -> Header:
        line = next(self._lines, b"")
        if not line:
            raise self._error("empty, so no recording")
        if line.startswith(_CAPTURE_FILES):
            raise self._error("a packet capture, not a recording (lb-switch replay reads captures)")
        version = _version(line)
        if version is None:
            raise self._error("no recording: the first line is no header (see lb-switch run -h)")
        if version != VERSION:
            raise self._error(f"a recording of version {version}; this program reads {VERSION}")
        try:
            return Header.model_validate_json(line)
        except ValidationError as error:
            raise self._error(f"line 1: {_first(error)}") from None

    def _error(self, problem: str) -> RecordingError:
        return RecordingError(f"{self.name}: {problem}")


def _version(line: bytes) -> object:
    """Return the version that a header claims; None if this is no header at all."""
    import json

    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return None
    return header.get("version", "?")


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = shortened(".".join(str(part) for part in problem["loc"]))
    text = f"{where}: {problem['msg']}" if where else str(problem["msg"])
    return harmless(shortened(text))


def _whole(count: int) -> str:
    return f"what came before is whole: {count:,} event{'' if count == 1 else 's'}"
