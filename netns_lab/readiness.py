"""When has a program started?  When it says so, or when it does what it is for."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PAUSE = 0.02
"""Seconds between two looks."""


def announced(descriptor: int, deadline: float) -> bool:
    """Wait for a line on a pipe; False if its writer ended without one, or at the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    left = deadline - time.monotonic()
    return bool(left > 0 and poll.poll(left * 1000) and os.read(descriptor, 16))


def switch_serves(control_socket: Path, process: subprocess.Popen[Any], deadline: float) -> bool:
    """Wait until the switch answers on its control socket; False if it ended or took too long."""
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            try:
                control.connect(str(control_socket))
            except OSError:
                time.sleep(PAUSE)
                continue
            return True
    return False
