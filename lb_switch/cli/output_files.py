"""Files that a command writes: they must not be what it reads, and can fail in one line."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from lb_switch.cli.failures import CommandError
from lb_switch.files.private_file import open_to_write


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


def check_writable(path: Path | None) -> None:
    """Raise CommandError if a file can plainly not be written there.  Nothing is made or changed.

    For a command that works for long before it opens the file, or does something on the way.
    """
    if path is None or str(path) == "-":
        return
    given = path
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not path.exists():
            folder = path.absolute().parent
            if not folder.is_dir():
                number = errno.ENOTDIR if folder.exists() else errno.ENOENT
                raise OSError(number, os.strerror(number))
            path = folder
        if not os.access(path, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    except OSError as error:
        raise CommandError(f"{given}: {error.strerror}") from None


def write_text(path: Path, text: str) -> None:
    """Write a file anew, in UTF-8.  Raises CommandError, which names it."""
    try:
        with open(open_to_write(path), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a regular file from others; None if there is none."""
    if path is None or str(path) == "-":
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
