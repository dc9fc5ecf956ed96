"""What a reader has not come to yet, so that a burst does not overflow the pipe it reads from.

A pipe holds some milliseconds of bulk traffic.  A thread empties it into memory, up to a bound.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque

MOST = 64 << 20
"""Bytes that may wait."""
_CHUNK = 8 << 20
_SWITCH_SECONDS = 0.0005
"""Between two threads: the interpreter's own 5 ms are longer than it takes to fill a pipe."""


class Reservoir:
    """Reads a descriptor until its end, `most` bytes ahead of whoever takes them."""

    def __init__(self, descriptor: int, most: int = MOST) -> None:
        self._descriptor = descriptor
        self._most = most
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._ended = False
        sys.setswitchinterval(_SWITCH_SECONDS)
        threading.Thread(target=self._fill, name="reservoir", daemon=True).start()

    def read(self) -> bytes:
        """Return what has come next, after waiting for it; empty at the end."""
        with self._changed:
            while not self._chunks and not self._ended:
                self._changed.wait()
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._bytes = 0
            self._changed.notify_all()
        return data

    def _fill(self) -> None:
        data = b"begin"
        while data:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except OSError:
                data = b""
            with self._changed:
                if data:
                    self._chunks.append(data)
                    self._bytes += len(data)
                else:
                    self._ended = True
                self._changed.notify_all()
                while self._bytes >= self._most:
                    self._changed.wait()
