"""A process of its own that writes a recording, so that a slow disk or FIFO stalls no packet.

    python -m lb_switch.stream.relay [FILE]

Copies stdin to FILE (a FIFO, perhaps, whose reader is still to come), else to stdout, until stdin
ends.  Signals that end the switch do not end it: it stays until the last line is written.
"""

from __future__ import annotations

import os
import signal
import sys

_CHUNK = 1 << 16


def copy(source: int, target: int) -> None:
    """Copy until the source ends.  Raises OSError."""
    while data := os.read(source, _CHUNK):
        while data:
            data = data[os.write(target, data) :]


def outlive_the_switch() -> None:
    """Let signals pass that end the switch: what it tells until then is still to be written."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def main() -> int:
    """Exit code 0: everything was copied.  1: it was not, and stderr says why."""
    outlive_the_switch()
    name = sys.argv[1] if len(sys.argv) > 1 else "the recording"
    try:
        copy(0, os.open(name, os.O_WRONLY) if len(sys.argv) > 1 else 1)
    except BrokenPipeError:
        return 1  # the reader of the FIFO had enough
    except OSError as error:
        print(f"lb-switch: {name}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
