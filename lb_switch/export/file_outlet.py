"""Where captured bytes go, without ever making a packet wait.

A disk may stall and a reader of a FIFO may sleep or die, and no flag makes writing to a regular
file non-blocking: so a thread of its own does the writing (a blocked `write` holds no lock that the
packet path needs), fed by a queue with a bound in bytes.  What finds the queue full is dropped and
counted.

    outlet = FileOutlet("both.pcapng")  # raises OutletError: one clear line
    outlet.put(blocks)                  # never blocks; False: dropped
    outlet.close()                      # waits a little for what is still queued
    if outlet.complaint: ...            # one line: how many were lost, and why
"""

from __future__ import annotations

import os
import queue
import stat
import threading
from os import PathLike, fspath

from lb_switch.files.private_file import open_to_write

LIMIT = 32 * 1024 * 1024
"""Bytes that may wait: about a second of a busy switch."""

PATIENCE = 5.0
"""Seconds that `close` waits for what is still queued."""

_AT_ONCE = 1024 * 1024
"""Bytes that go out in one `write`, roughly."""


class OutletError(Exception):
    """The file cannot be opened.  `str()` is one clear line."""


class FileOutlet:
    """Items of bytes to a file, FIFO or descriptor, whole and in order, by a thread of its own.

    A regular file is created or emptied; a FIFO is opened by the thread, when its reader comes.
    With `descriptor`, `path` is but its name, and it stays open.  All methods are for one thread.
    """

    def __init__(
        self, path: str | PathLike[str], *, descriptor: int | None = None, limit: int = LIMIT
    ) -> None:
        self.name = fspath(path)
        self._limit = limit
        self._descriptor = descriptor if descriptor is not None else self._open_now()
        self._keep_open = descriptor is not None
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Each counter has one writer, so no lock is needed: `put`'s thread has the first three,
        # the writing thread the others.
        self._items_in = self._bytes_in = self._refused = 0
        self._items_out = self._bytes_out = self._lost = 0
        self._failure = ""
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="outlet", daemon=True)
        self._thread.start()

    def _open_now(self) -> int | None:
        """Open what can be opened at once; None for a FIFO."""
        try:
            if os.path.exists(self.name) and stat.S_ISFIFO(os.stat(self.name).st_mode):
                return None
            return open_to_write(self.name)
        except OSError as error:
            raise OutletError(f"{self.name}: {error.strerror}") from None

    def put(self, data: bytes) -> bool:
        """Queue an item; False if it was dropped, because too much waits or the file failed."""
        if self._failure or self._bytes_in - self._bytes_out + len(data) > self._limit:
            self._refused += 1
            return False
        self._items_in += 1
        self._bytes_in += len(data)
        self._queue.put(data)
        return True

    @property
    def dropped(self) -> int:
        """Items that were not written; final after `close`."""
        return self._refused + self._lost

    @property
    def complaint(self) -> str:
        """One line about what was lost; empty if nothing was."""
        if not self.dropped and not self._failure:
            return ""
        why = self._failure or "the file, or its reader, was too slow"
        return f"{self.name}: {self.dropped} records not written: {why}"

    def close(self, patience: float = PATIENCE) -> None:
        """Wait at most `patience` seconds until everything is written.  Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            # Whatever it still manages to write before the process ends is a present.
            self._refused += self._items_in - self._items_out - self._lost

    def _write_all(self) -> None:
        try:
            descriptor = self._descriptor
            if descriptor is None:
                descriptor = os.open(self.name, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._fail(error)
            descriptor = -1
        more = True
        while more:
            batch, more = self._next_batch()
            size = sum(map(len, batch))
            try:
                if not self._failure:
                    _write(descriptor, b"".join(batch))
            except OSError as error:
                self._fail(error)
            if self._failure:
                self._lost += len(batch)
            else:
                self._items_out += len(batch)
            self._bytes_out += size
        if descriptor >= 0 and not self._keep_open:
            try:
                os.close(descriptor)
            except OSError as error:  # a network file system reports a full disk only here
                self._fail(error)

    def _next_batch(self) -> tuple[list[bytes], bool]:
        """Wait for an item; return it with those behind it, and whether more may come."""
        batch: list[bytes] = []
        size = 0
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            size += len(item)
            if size >= _AT_ONCE:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _fail(self, error: OSError) -> None:
        self._failure = error.strerror or str(error)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
