"""The keeper, as the switch sees it: a process of its own that is started, told, and listened to.

The switch changes the host itself only while the keeper is paused, and tells it afterwards what is
to be kept from now on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lb_switch import interpreter
from lb_switch.host.keeper import order
from lb_switch.host.kept import Kept

COMMAND = tuple(interpreter.module("lb_switch.host.keeper"))
PATIENCE = 20.0
"""Seconds within which the keeper must come to rest; a program of the host may hang."""
AGAIN = 1.0
"""Seconds until it is started again after it died."""
_PATIENCE_AT_END = 2.0
_LONGEST_LINE = 1 << 20

News = dict[str, Any]


class HasFileno(Protocol):
    """Anything that the loop can watch."""

    def fileno(self) -> int:
        """Return its file descriptor."""


class Loop(Protocol):
    """What is needed of `lb_switch.daemon.loop.Loop`."""

    def register(
        self, fileobj: HasFileno, callback: Callable[[float], None], writing: bool = False
    ) -> None:
        """Call back when the file is readable."""

    def unregister(self, fileobj: HasFileno) -> None:
        """Forget the file."""

    def call_at(self, when: float, callback: Callable[[float], None]) -> None:
        """Call back once at that time."""


class KeeperProcess:
    """Keeps one keeper alive between `open` and `close`.

    `kept` says what is to be kept (None: nothing can be), `on_news` takes what it tells, `complain`
    a line when it has died.
    """

    def __init__(
        self,
        loop: Loop,
        kept: Callable[[], Kept | None],
        on_news: Callable[[News, float], None],
        complain: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._kept = kept
        self._on_news = on_news
        self._complain = complain
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._received = b""
        self._unheard: list[News] = []
        """What came while it was told to pause."""
        self._open = False

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        return None if self._process is None else self._process.pid

    def open(self, now: float) -> None:
        """Start it, if there is anything to keep, and again whenever it dies."""
        self._open = True
        self._start(now)

    def close(self) -> None:
        """End it, and wait: from now on the host is the switch's alone.  The loop runs no more."""
        self._open = False
        self._end(loop_runs=False)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the caller change the host; then keep what there is to keep now."""
        if self._socket is None:
            yield
            return
        self._pause()
        try:
            yield
        finally:
            self._keep()

    # -- the parts -------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        if not self._open or self._process is not None or self._kept() is None:
            return
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                COMMAND,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=interpreter.environment(),
                # Ctrl-C in the terminal is for the switch.
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            self._complain(f"host: the keeper cannot be started ({error.strerror})")
            self._loop.call_at(now + AGAIN, self._start)
            return
        finally:
            theirs.close()
        self._socket = ours
        self._received = b""
        self._loop.register(ours, self._on_ready)
        self._keep()

    def _send(self, data: bytes) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is dying: reading will tell
                self._socket.sendall(data)

    def _keep(self) -> None:
        kept = self._kept()
        if kept is not None:
            self._send(order("keep", kept))

    def _pause(self) -> None:
        self._send(order("pause"))
        while self._socket is not None:
            if not select.select([self._socket], [], [], PATIENCE)[0]:
                self._complain(f"host: the keeper did not rest within {PATIENCE:g} s: it is ended")
                self._end()
                return
            news = self._read()
            if news is None:
                self._end()
                return
            self._unheard += [each for each in news if "paused" not in each]
            if any("paused" in each for each in news):
                return

    def _read(self) -> list[News] | None:
        """Return what it has told; None: it is gone."""
        assert self._socket is not None
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        if not data or len(self._received) > _LONGEST_LINE:
            return None
        return [json.loads(line) for line in lines]

    def _on_ready(self, now: float) -> None:
        news = self._read()
        if news is None:
            self._end()
            self._complain("host: the keeper ended; it is started again")
            self._loop.call_at(now + AGAIN, self._start)
            return
        told, self._unheard = [*self._unheard, *news], []
        for each in told:
            self._on_news(each, now)

    def _end(self, *, loop_runs: bool = True) -> None:
        if self._socket is not None:
            if loop_runs:
                self._loop.unregister(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            # It may be about to run a program of the host; that one must not come after our undo.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_AT_END)
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None
