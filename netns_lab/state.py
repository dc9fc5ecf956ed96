"""What a lab has made, on disk, so that any process can use it or remove it.

`state.json` is replaced as a whole (written beside, then renamed), so that a reader never sees
half of it, and it is written *before* the thing it speaks of is made: a crash leaves at most a
record of something that does not exist, never something without a record.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netns_lab.processes import ProcessRecord

RUN_DIRECTORY = Path("/run/lb-switch")
STATE_FILE = "state.json"
LOCK_FILE = "lock"

_PREFIX = re.compile(r"[a-z][a-z0-9]{0,15}-")


@dataclass
class State:
    """The record of one lab.  switch: the switch's process; capture: what it captures with."""

    prefix: str
    topology: str
    namespaces: list[str] = field(default_factory=list)
    processes: list[ProcessRecord] = field(default_factory=list)
    switch: ProcessRecord | None = None
    capture: str | None = None
    scheduler: str | None = None
    complete: bool = False

    def save(self, directory: Path) -> None:
        """Write the state file of this lab."""
        beside = directory / f".{STATE_FILE}.{os.getpid()}"
        beside.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        beside.replace(directory / STATE_FILE)

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """Read it; None if the directory has none (a lab that died before it made anything)."""
        try:
            data: dict[str, Any] = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        data["processes"] = [ProcessRecord(**each) for each in data["processes"]]
        if data["switch"] is not None:
            data["switch"] = ProcessRecord(**data["switch"])
        return cls(**data)


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[State]:
    """Read the state, let the caller change it, write it; one process at a time.

    Raises FileNotFoundError if there is no such lab.
    """
    with (directory / LOCK_FILE).open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = State.load(directory)
        if state is None:
            raise FileNotFoundError(directory / STATE_FILE)
        yield state
        state.save(directory)


def is_prefix(text: str) -> bool:
    """Whether this may begin the names of a lab's namespaces: `lb-`, `lbt4f2a-`."""
    return _PREFIX.fullmatch(text) is not None


def lab_directory(prefix: str) -> Path:
    """Where a lab keeps its files."""
    return RUN_DIRECTORY / f"lab-{prefix.removesuffix('-')}"


def all_prefixes() -> list[str]:
    """The prefixes of every lab there is, sorted."""
    found = RUN_DIRECTORY.glob("lab-*") if RUN_DIRECTORY.is_dir() else ()
    return sorted(f"{path.name.removeprefix('lab-')}-" for path in found if path.is_dir())
