"""Where lines leave the datapath: a pipe that is never waited for.

The pipe itself is the queue, and the kernel keeps its bound.  What does not fit is dropped and
counted, and the count is told in the stream as soon as something fits again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select

from lb_switch.stream import encode

CAPACITY = 8 << 20
"""Bytes, some 6,000 packets; without CAP_SYS_RESOURCE 1 MiB (pipe(7): pipe-max-size)."""

_MODEST_CAPACITY = 1 << 20


class PipeOutlet:
    """The writing end of a pipe, or of anything else that can be written without blocking.

    `dropped` counts the lines that were lost.  `dead`: the reader is gone, nothing is written any
    more.  The outlet owns the descriptor.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.dropped = 0
        self.dead = False
        self._descriptor = descriptor
        self._untold = 0
        self._rest = b""
        """What the pipe did not take of the last line."""
        os.set_blocking(descriptor, False)
        for capacity in (CAPACITY, _MODEST_CAPACITY):
            with contextlib.suppress(OSError):  # not a pipe, or more than is allowed
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, capacity)
                break

    def put(self, line: bytes) -> None:
        """Write a line, or drop it.  Never blocks and never raises."""
        if self._rest and not self.dead:
            self._write(b"")
        if self.dead or self._rest:
            self.drop()
            return
        if self._untold:
            line = encode.dropped(self._untold) + line
        if self._write(line):
            self._untold = 0
        else:
            self.drop()

    def drop(self) -> None:
        """Count a line that is not told."""
        self.dropped += 1
        self._untold += 1

    def finish(self, last_line: bytes, patience: float) -> bool:
        """Write the last line, waiting at most `patience` seconds for room; return success."""
        self._rest += (encode.dropped(self._untold) if self._untold else b"") + last_line
        waiter = select.poll()
        waiter.register(self._descriptor, select.POLLOUT)
        while self._rest and not self.dead:
            if not self._write(b"") and not self.dead and not waiter.poll(patience * 1000):
                return False
        return not self.dead

    def close(self) -> None:
        """Close the pipe: its reader finds the end."""
        self.dead = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, line: bytes) -> bool:
        """Write what is left and then the line; return False if nothing of it was taken."""
        data = self._rest + line
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EINTR}:
                self.dead = True
            return False
        self._rest = data[written:]
        return True
