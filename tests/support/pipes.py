"""Both ends of a pipe: what is in one, and a program whose reader goes away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def drain(descriptor: int) -> bytes:
    """Return what is in the pipe now; `descriptor` does not block from then on."""
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while piece := os.read(descriptor, 1 << 20):
            data += piece
    except BlockingIOError:
        pass
    return data


def expect_silence_without_a_reader(argv: Sequence[str | Path]) -> None:
    """Close a program's standard output at once: it must not complain, and end with code 0."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
