"""The end of a lab: repeatable, safe to cut short, and never about anything but our own."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from netns_lab import plan
from netns_lab.errors import LabError
from netns_lab.processes import end_in_namespaces, end_recorded
from netns_lab.state import State


def remove(directory: Path) -> None:
    """End the processes, delete the namespaces, then forget: in this order, it can be repeated."""
    state = State.load(directory)
    if state is not None:
        if state.switch is not None:
            # First and alone: its own clean-up needs the namespace as it was.
            end_recorded([state.switch])
        end_recorded(state.processes)
        end_in_namespaces(state.namespaces)
        present = [each for each in state.namespaces if netns_path(each).exists()]
        for command in plan.down_commands(present):
            subprocess.run(command, capture_output=True, check=False, start_new_session=True)
        left = [each for each in present if netns_path(each).exists()]
        if left:
            raise LabError(f"the namespaces {', '.join(left)} could not be deleted")
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the clean-up is through."""
    held = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def netns_path(netns: str) -> Path:
    """Where `ip netns` keeps a namespace."""
    return Path("/run/netns") / netns
