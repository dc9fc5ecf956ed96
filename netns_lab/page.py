"""A lab's page: what its process writes, and the address that stands there."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from netns_lab.readiness import PAUSE

HOST = "(page)"
"""In the place of a host, on the record of the page's process, which runs on no host of the lab."""
LOG = "page.log"
PATIENCE = 10.0
"""Seconds until a page that does not serve counts as failed."""


def open_log(directory: Path) -> IO[bytes]:
    """Begin its log anew.  The address in it holds a token, for nobody else on this machine."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return open(os.open(directory / LOG, flags, 0o600), "wb")


def address(directory: Path) -> str | None:
    """Return the address that it has printed, if there is one."""
    try:
        log = (directory / LOG).read_text(encoding="utf-8")
    except OSError:  # there is none, or it is not for us
        return None
    found = re.search(r"the page is at (http://\S+)\n", log)
    return None if found is None else found[1]


def await_address(directory: Path, process: subprocess.Popen[Any]) -> str | None:
    """Wait until it has printed its address; None if it ended, or took too long."""
    deadline = time.monotonic() + PATIENCE
    while (found := address(directory)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            return None
        time.sleep(PAUSE)
    return found
