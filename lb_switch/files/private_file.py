"""Files that a program of root's writes where others may be: for its owner only, and where it says.

What packets carried is nobody else's, so a file that is made is 0600.  Where others can write, a
name may be a trap laid before: a symbolic link of theirs, by which root would overwrite any file,
or a file of theirs, in which they would read on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from os import PathLike
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock.  `pid` is its number, 0 if that cannot be told."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


def open_to_write(path: str | PathLike[str]) -> int:
    """Open a file to be written anew, and return its descriptor.

    A regular file is emptied, and 0600 if it is ours.  Anything else (a FIFO, /dev/stdout) is
    opened as it is.  Raises OSError, also where a link or a file belongs to somebody else.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        if os.lstat(path).st_uid not in _trusted():
            raise _refused("a symbolic link of somebody else's") from None
        descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            if status.st_uid not in _trusted():
                raise _refused("belongs to somebody else")
            os.ftruncate(descriptor, 0)
            if status.st_uid == os.geteuid():
                os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _trusted() -> set[int]:
    """Whose files and links we follow: our own, root's, and who called sudo."""
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    return trusted


def _refused(why: str) -> OSError:
    return PermissionError(errno.EPERM, why)


def check_folder(path: str | PathLike[str]) -> None:
    """Raise PermissionError unless only we, or root, decide what is in this folder.

    With the sticky bit (/tmp) others may make files there, but not touch ours.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        if status.st_uid not in {0, os.geteuid()}:
            raise _refused("a symbolic link of somebody else's")
        status = os.stat(path)
    if status.st_uid not in {0, os.geteuid()}:
        raise _refused("belongs to somebody else")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
        raise _refused("others may write there")


class Folder:
    """A folder that is made 0700 where there is none, with those above it, and removed again."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._made: list[Path] = []

    def make(self) -> None:
        """Make what is missing; what is there must be safe (`check_folder`).  Raises OSError."""
        for folder in (*reversed(self.path.parents), self.path):
            try:
                folder.mkdir(mode=0o700 if folder == self.path else 0o777)
                self._made.append(folder)
            except FileExistsError:
                if not folder.is_dir():
                    raise
        check_folder(self.path)

    def remove(self) -> None:
        """Remove what we made, as far as nobody has put anything there.  Idempotent."""
        while self._made:
            with contextlib.suppress(OSError):
                self._made[-1].rmdir()
            self._made.pop()


class LockFile:
    """A file whose lock lives exactly as long as its process (flock(2)).

    What a killed process left behind is no hindrance.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether we hold it."""
        return self._descriptor is not None

    def take_in(self, folder: Folder) -> None:
        """Make the file's folder, then take the lock; raises as both do."""
        folder.make()
        try:
            self.lock()
        except FileNotFoundError:  # whoever made the folder before us removed it meanwhile
            folder.make()
            self.lock()

    def lock(self) -> None:
        """Take the lock.  Raises HeldError, or OSError where the file cannot be made."""
        while True:
            self._remove_strangers()
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_at_path(descriptor):
                    with contextlib.suppress(OSError):  # a full disk: it only tells who holds it
                        os.ftruncate(descriptor, 0)
                        os.write(descriptor, f"{os.getpid()}\n".encode())
                    self._descriptor = descriptor
                    return
            except BlockingIOError:
                pid = os.pread(descriptor, 20, 0).strip()
                os.close(descriptor)
                raise HeldError(int(pid) if pid.isdigit() else 0) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its owner removed it between our open and our lock

    def release(self) -> None:
        """Let go of it, and remove the file.  Idempotent."""
        if self._descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            os.close(self._descriptor)
            self._descriptor = None

    def _remove_strangers(self) -> None:
        """Remove a file that somebody else has laid there, to hold the lock for ever."""
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(self._path).st_uid not in {0, os.geteuid()}:
                os.unlink(self._path)

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self._path))
        except FileNotFoundError:
            return False
