"""Where lines leave the datapath: a pipe that is never waited for.

What the pipe does not take at once waits here, up to a bound; beyond it lines are dropped and
counted, and the count is told in the stream as soon as something fits again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
from collections import deque

from lb_switch.stream import encode

CAPACITY = 8 << 20
"""Bytes, some 6,000 packets; without CAP_SYS_RESOURCE 1 MiB (pipe(7): pipe-max-size)."""

_MODEST_CAPACITY = 1 << 20

BACKLOG = 32 << 20
"""Bytes that may wait for room in the pipe: a burst of bulk traffic, told whole."""

_AT_ONCE = 1 << 18
"""Bytes written for one event at the most: the packet behind it waits for so long, some 100 µs."""


class PipeOutlet:
    """The writing end of a pipe, or of anything else that can be written without blocking.

    `dropped` counts the lines that were lost.  `dead`: the reader is gone, nothing is written any
    more.  The outlet owns the descriptor.
    """

    def __init__(self, descriptor: int, name: str, backlog: int = BACKLOG) -> None:
        self.name = name
        self.dropped = 0
        self.dead = False
        self._descriptor = descriptor
        self._backlog = backlog
        self._untold = 0
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        os.set_blocking(descriptor, False)
        for capacity in (CAPACITY, _MODEST_CAPACITY):
            with contextlib.suppress(OSError):  # not a pipe, or more than is allowed
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, capacity)
                break

    def put(self, line: bytes) -> None:
        """Write a line, let it wait, or drop it.  Never blocks and never raises."""
        if self._waiting:
            self.flush()
        if self.dead or (self._waiting and self._bytes + len(line) > self._backlog):
            self.drop()
            return
        if self._untold:
            line = encode.dropped(self._untold) + line
            self._untold = 0
        self._waiting.append(line)
        self._bytes += len(line)
        if len(self._waiting) == 1:  # else there is no room, or enough was written for one event
            self.flush()

    def drop(self) -> None:
        """Count a line that is not told."""
        self.dropped += 1
        self._untold += 1

    def flush(self) -> bool:
        """Write some of what waits, if there is room; return whether that was any."""
        left = _AT_ONCE
        while self._waiting and left > 0:
            data = self._waiting.popleft()
            try:
                written = os.write(self._descriptor, data)
            except OSError as error:
                self._waiting.appendleft(data)
                if error.errno not in {errno.EAGAIN, errno.EINTR}:
                    self._lose_all()
                break
            self._bytes -= written
            left -= written
            if written < len(data):
                self._waiting.appendleft(data[written:])
        return left < _AT_ONCE

    def finish(self, last_line: bytes, patience: float) -> bool:
        """Write the last line, waiting at most `patience` seconds for room; return success."""
        if self._untold:
            last_line = encode.dropped(self._untold) + last_line
        self._waiting.append(last_line)
        self._bytes += len(last_line)
        waiter = select.poll()
        waiter.register(self._descriptor, select.POLLOUT)
        while self._waiting and not self.dead:
            if not self.flush() and not self.dead and not waiter.poll(patience * 1000):
                self._bytes -= len(self._waiting.pop())
                return False
        return not self.dead

    def close(self) -> None:
        """Close the pipe: its reader finds the end.  What waits is lost."""
        self._lose_all()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lose_all(self) -> None:
        self.dead = True
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._bytes = 0
