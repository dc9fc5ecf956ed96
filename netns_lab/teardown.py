"""The end of a lab: repeatable, safe to cut short, and never about anything but our own."""

from __future__ import annotations

import contextlib
import fcntl
import os
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
        for each in state.namespaces:
            forget_switches(netns_path(each), directory.parent)
        present = [each for each in state.namespaces if netns_path(each).exists()]
        for command in plan.down_commands(present):
            subprocess.run(command, capture_output=True, check=False, start_new_session=True)
        left = [each for each in present if netns_path(each).exists()]
        if left:
            raise LabError(f"the namespaces {', '.join(left)} could not be deleted")
    shutil.rmtree(directory, ignore_errors=True)


def forget_switches(namespace: Path, folder: Path) -> None:
    """Remove what killed switches of a namespace left: it goes, and nothing is to be taken back.

    To be called before the namespace is deleted, so that its number is not another one's yet.
    """
    with contextlib.suppress(OSError):
        lock_file = folder / f"{namespace.stat().st_ino}.lock"
        with lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a switch that runs holds it
            lock_file.with_suffix(".state").unlink(missing_ok=True)
            lock_file.unlink()


def sweep(folder: Path) -> list[str]:
    """Remove the folders of labs that are gone, and return their names.

    Such a lab was complete, and has neither a namespace nor a process any more: somebody has
    deleted the namespaces by hand, or the machine has started again.
    """
    gone = []
    for directory in sorted(folder.glob("lab-*")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if _is_gone(State.load(directory)):
                # Under another name nobody else takes it for a lab, while we look once more.
                aside = folder / f".gone-{directory.name}-{os.getpid()}"
                directory.rename(aside)
                if _is_gone(State.load(aside)):
                    shutil.rmtree(aside, ignore_errors=True)
                    gone.append(directory.name)
                else:
                    aside.rename(directory)
    return gone


def _is_gone(state: State | None) -> bool:
    if state is None or not state.complete:
        return False
    records = [*state.processes, *([] if state.switch is None else [state.switch])]
    return not any(netns_path(each).exists() for each in state.namespaces) and not any(
        record.alive for record in records
    )


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
