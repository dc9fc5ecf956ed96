"""The process that writes both sides of a running switch into a pcapng file.

    python -m lb_switch.export NAME EPOCH_NS [FIFO]

Reads a stream from stdin, writes to stdout (or opens a FIFO, whose reader may be still to come),
until the stream ends.  NAME is for messages; see `LiveFile` for the rest.  Signals that end the
switch do not end it: it stays until the last packet is written.
"""

from __future__ import annotations

import os
import sys

from lb_switch.stream.relay import outlive_the_switch
from lb_switch.stream.reservoir import Reservoir


def main() -> int:
    """Exit code 0: everything was written.  1: it was not, and stderr says why."""
    outlive_the_switch()
    told = Reservoir(0)  # at once: a busy switch fills the pipe while modules are imported
    from lb_switch.export.pcapng_file import LiveFile
    from lb_switch.stream.recording import RecordingError

    name, epoch_ns, *fifo = sys.argv[1:]
    try:
        target = os.open(fifo[0], os.O_WRONLY) if fifo else 1
        file = LiveFile(told.read, target, name, int(epoch_ns))
        file.write()
    except BrokenPipeError:
        return 1  # the reader of the FIFO had enough
    except OSError as error:
        print(f"lb-switch: {name}: {error.strerror}", file=sys.stderr)
        return 1
    except RecordingError:
        return 1  # the switch was killed: what it told until then is in the file
    if file.faults:
        what = f"{file.faults:,} packets not written: an internal error"
        print(f"lb-switch: {name}: {what}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
