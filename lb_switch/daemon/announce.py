"""Lines from a switch that is forwarding packets: said if somebody can take them, else left out.

A terminal that is stopped (Ctrl-S) or a pipe that nobody empties would otherwise hold up the
packets.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TextIO

from lb_switch.harmless import harmless


def say(line: str) -> None:
    """Print a line to stdout."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """Print a line to stderr."""
    _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    text = f"lb-switch: {harmless(line)}\n"
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        stream.write(text)
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    # A pipe is ready when it takes PIPE_BUF bytes, more than a line has.
    if poll.poll(0):
        # Not through the stream: it would keep what it could not write, and try again at the end.
        with contextlib.suppress(OSError):  # nobody reads any more: no reason to stop the traffic
            os.write(descriptor, text.encode(errors="backslashreplace"))
