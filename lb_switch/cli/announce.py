"""Lines from a switch that is forwarding packets: said if somebody can take them, else left out.

A terminal that is stopped (Ctrl-S) or a pipe that nobody empties would otherwise hold up the
packets.
"""

from __future__ import annotations

import io
import select
import sys
from typing import TextIO


def say(line: str) -> None:
    """Print a line to stdout."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """Print a line to stderr."""
    _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    if not _takes_more(stream):
        return
    try:
        stream.write(f"lb-switch: {line}\n")
        stream.flush()
    except OSError:
        return  # nobody reads any more: no reason to stop the traffic


def _takes_more(stream: TextIO) -> bool:
    """Whether a line can be written without waiting (a pipe is ready for PIPE_BUF bytes)."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))
