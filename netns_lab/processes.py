"""Processes of a lab, named so that no stranger is ever ended in their place.

A pid alone may have been given to somebody else since; pid and start time together name one
process for as long as the machine is up.  Signals go through a pidfd, which cannot change hands
between the check and the signal (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""

_Step = tuple[signal.Signals, float]
"""A signal, and how many seconds to wait for its effect."""


@dataclass(frozen=True)
class ProcessRecord:
    """One started process.  start_time: clock ticks since boot, field 22 of /proc/PID/stat."""

    pid: int
    start_time: int
    host: str
    command: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return start_time(self.pid) == self.start_time


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def end_recorded(records: Iterable[ProcessRecord], grace: float = GRACE) -> None:
    """SIGTERM, then SIGKILL after `grace` seconds, to those that still are who they were."""
    _end([(each.pid, _is_record(each)) for each in records], _gently(grace))


def kill_recorded(records: Iterable[ProcessRecord]) -> None:
    """SIGKILL at once, as a crash would have it; returns when they are gone."""
    _end([(each.pid, _is_record(each)) for each in records], ((signal.SIGKILL, GRACE),))


def end_in_namespaces(namespaces: Iterable[str], grace: float = GRACE) -> None:
    """The same for every process whose network namespace is one of these."""
    targets = []
    for netns in namespaces:
        try:
            inode = Path(f"/run/netns/{netns}").stat().st_ino
        except OSError:
            continue
        targets += [(pid, _is_in_namespace(pid, inode)) for pid in pids_in(netns)]
    _end(targets, _gently(grace))


def pids_in(netns: str) -> list[int]:
    """Every process whose network namespace is this one; none if there is no such namespace."""
    listed = subprocess.run(
        ["ip", "netns", "pids", netns], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


def _gently(grace: float) -> tuple[_Step, ...]:
    return ((signal.SIGTERM, grace), (signal.SIGKILL, grace))


def _is_record(record: ProcessRecord) -> Callable[[], bool]:
    return lambda: record.alive


def _is_in_namespace(pid: int, inode: int) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return Path(f"/proc/{pid}/ns/net").stat().st_ino == inode
        except OSError:
            return False

    return check


def _end(targets: list[tuple[int, Callable[[], bool]]], steps: Iterable[_Step]) -> None:
    with contextlib.ExitStack() as descriptors:
        waiting: list[int] = []
        for pid, is_ours in targets:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            descriptors.callback(os.close, descriptor)
            # Checked after the pidfd was opened: from here on it means this process or nobody.
            if is_ours():
                waiting.append(descriptor)
        for number, patience in steps:
            for descriptor in waiting:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
            waiting = _still_running(waiting, patience)


def _still_running(descriptors: list[int], patience: float) -> list[int]:
    """Wait until all have ended (a pidfd then becomes readable), at most `patience` seconds."""
    deadline = time.monotonic() + patience
    remaining = set(descriptors)
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while remaining and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            remaining.discard(descriptor)
    return sorted(remaining)
