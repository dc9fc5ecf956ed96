"""The control socket's place in the file system: one live switch at a time, for its owner only."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path


class SocketInUseError(Exception):
    """The path cannot be taken; its text is one clear line."""


class SocketFile:
    """A Unix socket's path, and a lock beside it that lives exactly as long as its process.

    Whoever holds the lock (flock(2), released by the kernel even after SIGKILL) may replace what
    an earlier process left at the path; so two switches that start at the same moment cannot both
    take it, as they could if each only tried to connect.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock: int | None = None

    def claim(self) -> None:
        """Take the path, in a directory made 0700, without listening yet.

        What a dead process left there is removed.  Raises SocketInUseError.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_directory()
            self._lock = self._take_lock()
            self._remove_stale()
        except OSError as error:
            self._release_lock()
            raise self._failed(error) from None
        except SocketInUseError:
            self._release_lock()
            raise

    def listen(self) -> socket.socket:
        """Return a non-blocking listening socket, mode 0600, at the claimed path.

        Raises SocketInUseError.
        """
        try:
            return self._bind()
        except OSError as error:
            raise self._failed(error) from None

    def remove(self) -> None:
        """Remove the socket file and the lock, if they are ours."""
        if self._lock is not None:
            self._path.unlink(missing_ok=True)
        self._release_lock()

    def _failed(self, error: OSError) -> SocketInUseError:
        reason = error.strerror or error
        return SocketInUseError(f"cannot create the control socket {self._path}: {reason}")

    def _check_directory(self) -> None:
        mode = self._path.parent.stat().st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            raise SocketInUseError(
                f"cannot put the control socket into {self._path.parent}: others may write there"
            )

    def _take_lock(self) -> int:
        while True:
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self._lock_path, flags, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_at_lock_path(lock):
                    return lock
            except BlockingIOError:
                os.close(lock)
                raise SocketInUseError(
                    f"another lb-switch is running (it owns {self._path})"
                ) from None
            os.close(lock)  # its owner removed it between our open and our lock

    def _is_at_lock_path(self, lock: int) -> bool:
        try:
            return os.path.samestat(os.fstat(lock), self._lock_path.lstat())
        except FileNotFoundError:
            return False

    def _remove_stale(self) -> None:
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise SocketInUseError(f"{self._path} exists and is not a socket")
        self._path.unlink()

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        previous = os.umask(0o177)  # so that it is never open to others, not even for a moment
        try:
            listener.bind(str(self._path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(previous)
        listener.listen(16)
        return listener

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
