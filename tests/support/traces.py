"""What a lab could leave behind, so that a test can say: nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from netns_lab.state import lab_directory

NO_TRACE = {"namespaces": set(), "directory": False, "processes": []}


def existing(prefix: str) -> set[str]:
    """Return the namespaces of a lab that are there now."""
    return {path.name for path in Path("/run/netns").glob(f"{prefix}*")}


def traces(prefix: str) -> dict[str, object]:
    """Return everything that is there of a lab."""
    running = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return {
        "namespaces": existing(prefix),
        "directory": lab_directory(prefix).exists(),
        "processes": [
            line for line in running.stdout.splitlines() if f"lab-{prefix[:-1]}/" in line
        ],
    }
