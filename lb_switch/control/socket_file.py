"""The control socket's place in the file system: one live switch at a time, for its owner only."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from lb_switch.files.private_file import Folder, HeldError, LockFile

BACKLOG = 1024
"""Connections that wait while the switch is busy (net.core.somaxconn may allow fewer)."""


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
        self._folder = Folder(path.parent)
        self._lock = LockFile(path.with_name(path.name + ".lock"))

    def claim(self) -> None:
        """Take the path, in a directory made 0700, without listening yet.

        What a dead process left there is removed.  Raises SocketInUseError.
        """
        try:
            self._make_folder()
            self._lock.take_in(self._folder)
            self._remove_stale()
        except HeldError:
            raise SocketInUseError(f"another lb-switch is running (it owns {self._path})") from None
        except OSError as error:
            self._lock.release()
            self._folder.remove()
            raise self._failed(error) from None
        except SocketInUseError:
            self._lock.release()
            self._folder.remove()
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
        """Remove the socket file and the lock, if they are ours, and a folder that we made."""
        if self._lock.is_held:
            self._path.unlink(missing_ok=True)
        self._lock.release()
        self._folder.remove()

    def _failed(self, error: OSError) -> SocketInUseError:
        reason = error.strerror or error
        return SocketInUseError(f"cannot create the control socket {self._path}: {reason}")

    def _make_folder(self) -> None:
        try:
            self._folder.make()
        except PermissionError as error:
            folder = self._path.parent
            raise SocketInUseError(
                f"cannot put the control socket into {folder}: {error.strerror}"
            ) from None

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
        listener.listen(BACKLOG)
        return listener
