"""The Python that this program runs in, for processes of its own.

Python puts the current directory first on its path for `-m` and `-c`: root's switch, started in a
folder of somebody else's, would run what lies there as `lb_switch` or `json`.  `-P` leaves the
current directory out (Python 3.11).  Nothing else in the package starts a Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_SAFE = (sys.executable, "-P")


def module(name: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of this package, or of a library."""
    return [*_SAFE, "-m", name, *arguments]


def code(text: str) -> list[str]:
    """Return the command line that runs a piece of code."""
    return [*_SAFE, "-c", text]


def environment() -> dict[str, str]:
    """Return ours, such that a process finds this very package."""
    root = str(Path(__file__).resolve().parent.parent)
    before = os.environ.get("PYTHONPATH")
    return dict(os.environ, PYTHONPATH=f"{root}:{before}" if before else root)


def absolute(path: str) -> str:
    """Return a list of folders (`PATH`, `PYTHONPATH`) without those that the current one decides.

    An empty entry is the current directory, too.
    """
    return ":".join(each for each in path.split(":") if each.startswith("/"))
