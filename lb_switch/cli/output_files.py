"""What a command writes must not be what it reads."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from lb_switch.cli.failures import CommandError


def check(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Raise CommandError where an output is an input, or two outputs are one file.

    Also by another spelling of its name, by a link; what is no regular file may be both.
    """
    read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    written: dict[tuple[int, int] | Path, Path] = {}
    for path in outputs:
        if path is None:
            continue
        identity = _identity(path)
        if identity is not None and identity in read:
            raise CommandError(f"{path}: is an input of this command: write to another")
        if identity is None and path.exists():
            continue
        first = written.setdefault(identity or path.absolute(), path)
        if first is not path:
            raise CommandError(f"{path}: two outputs in one file: write to another")


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a regular file from others; None if there is none."""
    if path is None or str(path) == "-":
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
