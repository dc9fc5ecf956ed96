"""The probe process, as the switch sees it: started, fed, listened to, and started again.

It is a program of its own (`lb_switch.health.worker`), not a fork of the switch.  A fork would
share the switch's memory page by page and copy it as the connection table changes, would inherit
its packet queue and device, and would run Python in a process whose state was made for something
else.  `subprocess` starts a program by vfork(2), whose cost (about a millisecond) does not grow
with the switch's memory.

Both talk over a socket pair.  The switch never waits: it reads what is there, a bounded amount at
a time, and keeps what the process does not take yet.  When either side is gone, the other sees the
end of the stream.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from lb_switch import interpreter
from lb_switch.health import messages

COMMAND = tuple(interpreter.module("lb_switch.health.worker"))

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds until the next start, after one, two, three … deaths in a row."""
LONG_LIFE = 60.0
"""Seconds after which a process counts as having worked: the next death is a first one."""
WATCH = 5.0
"""Seconds between two looks whether the process is still heard of."""
_READ = 16 * 1024
"""Bytes taken at a time: some 150 results, about a millisecond of work."""
_LONGEST_LINE = 64 * 1024
_PATIENCE_AT_END = 2.0


class HasFileno(Protocol):
    """Anything that the loop can watch."""

    def fileno(self) -> int:
        """Return its file descriptor."""


Callback = Callable[[float], None]


class Loop(Protocol):
    """What is needed of `lb_switch.daemon.loop.Loop`."""

    def register(self, fileobj: HasFileno, callback: Callback, writing: bool = False) -> None:
        """Call back when the file is readable, or writable too."""

    def unregister(self, fileobj: HasFileno) -> None:
        """Forget the file."""

    def call_at(self, when: float, callback: Callback) -> None:
        """Call back once at that time."""


class ProbeListener(Protocol):
    """Whom the process works for."""

    def orders(self) -> bytes:
        """Return all that a process which has just been started must be told."""

    def note(self, found: messages.Found, now: float) -> None:
        """Take what a probe found."""

    def patience(self) -> float | None:
        """Return within how many seconds a result must come; None: none is expected."""

    def complain(self, line: str) -> None:
        """Tell the operator."""


class ProcessStatus(NamedTuple):
    """How the process does: "stopped", "starting", "running" or "waiting" (for its next start).

    restarts: how often it was started again.  trouble: why it last died or could not be started.
    """

    state: str
    pid: int | None
    restarts: int
    trouble: str | None


class ProbeProcess:
    """Keeps one probe process alive for `listener` between `open` and `close`."""

    def __init__(
        self, loop: Loop, listener: ProbeListener, command: Sequence[str] = COMMAND
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._command = command
        self._running: _Running | None = None
        self._open = False
        self._ready = False
        self._deaths = 0
        """In a row."""
        self._restarts = 0
        self._trouble: str | None = None
        self._heard = 0.0
        self._watched = 0.0
        """When `_watch` has last looked."""

    @property
    def status(self) -> ProcessStatus:
        """How it does."""
        if self._running is None:
            return ProcessStatus(
                "waiting" if self._open else "stopped", None, self._restarts, self._trouble
            )
        state = "running" if self._ready else "starting"
        return ProcessStatus(state, self._running.pid, self._restarts, self._trouble)

    def open(self, now: float) -> None:
        """Start it, and from now on again whenever it dies.  May be called again."""
        if self._open:
            return
        self._open = True
        self._start(now)
        self._watched = now
        self._loop.call_at(now + WATCH, self._watch)

    def send(self, lines: bytes) -> None:
        """Pass on orders.  A process that is not there is told by `orders` when it starts."""
        if self._running is not None:
            self._running.send(lines)

    def close(self) -> None:
        """End it and wait for it.  The loop runs no more."""
        self._open = False
        if self._running is not None:
            self._running.end()
            self._running = None

    def _start(self, now: float) -> None:
        if not self._open:
            return
        try:
            self._running = _Running(
                self._loop, self._command, heard=self._on_answers, ended=self._on_end, now=now
            )
        except OSError as error:
            self._try_again(f"cannot be started ({error.strerror})", now)
            return
        self._heard = now
        self._ready = False
        self._running.send(self._listener.orders())

    def _on_answers(self, answers: Sequence[messages.ProbeAnswer], now: float) -> None:
        self._heard = now
        for answer in answers:
            if isinstance(answer, messages.Found):
                self._listener.note(answer, now)
                continue
            self._ready = True
            if self._deaths:
                self._listener.complain("health checks: the probe process runs again")

    def _on_end(self, how: str, lived: float, now: float) -> None:
        self._running = None
        if lived >= LONG_LIFE:
            self._deaths = 0
        self._try_again(f"ended ({how})", now)

    def _try_again(self, trouble: str, now: float) -> None:
        pause = BACK_OFF[min(self._deaths, len(BACK_OFF) - 1)]
        self._deaths += 1
        self._restarts += 1
        self._trouble = trouble
        self._listener.complain(
            f"health checks: the probe process {trouble};"
            f" the last known health stands, {_when(pause)}"
        )
        self._loop.call_at(now + pause, self._start)

    def _watch(self, now: float) -> None:
        """A process that lives but says nothing is as good as dead, and blocks the next."""
        if not self._open:
            return
        if now - self._watched > 2 * WATCH:
            # We were stopped ourselves (SIGSTOP, a machine asleep), perhaps both were: it could not
            # speak, or not be heard.
            self._heard = now
        self._watched = now
        patience = self._listener.patience()
        silence = now - self._heard
        if self._running is not None and patience is not None and silence > patience:
            self._running.kill(f"silent for {silence:.0f} s")
        self._loop.call_at(now + WATCH, self._watch)


class _Running:
    """One process: its pid, and the socket to it.  Raises OSError if it cannot be started."""

    def __init__(
        self,
        loop: Loop,
        command: Sequence[str],
        *,
        heard: Callable[[Sequence[messages.ProbeAnswer], float], None],
        ended: Callable[[str, float, float], None],
        now: float,
    ) -> None:
        self._loop = loop
        self._heard = heard
        self._ended = ended
        self._began = now
        self._received = b""
        self._unsent = bytearray()
        self._verdict: str | None = None
        """Why we ended it."""
        self._socket, theirs = socket.socketpair()
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=interpreter.environment(),
                # Ctrl-C in the terminal is for the switch.
                start_new_session=True,
            )
            self._pidfd = _PidFd(self._process.pid)
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._socket.setblocking(False)
        self._listening = True
        loop.register(self._socket, self._on_ready)
        loop.register(self._pidfd, self._on_exit)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, lines: bytes) -> None:
        """Send what the socket takes, keep the rest until it takes more."""
        self._unsent += lines
        self._send()

    def kill(self, why: str) -> None:
        """End it for a reason that `ended` will be told."""
        self._verdict = self._verdict or why
        self._hang_up()
        self._process.kill()

    def end(self) -> None:
        """Hang up, wait until it is gone, and tell nobody."""
        self._socket.close()
        try:
            self._process.wait(_PATIENCE_AT_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pidfd.close()

    def _on_ready(self, now: float) -> None:
        if self._unsent:
            self._send()
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        if not data or len(self._received) > _LONGEST_LINE:
            self.kill("it hung up" if not data else "it talks nonsense")
            return
        try:
            answers = [messages.read_answer(line) for line in lines]
        except (ValueError, KeyError, TypeError):
            self.kill("it talks nonsense")
        else:
            self._heard(answers, now)

    def _send(self) -> None:
        if not self._listening:
            return
        try:
            sent = self._socket.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is dying: reading will tell
        del self._unsent[:sent]
        self._loop.register(self._socket, self._on_ready, writing=bool(self._unsent))

    def _hang_up(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.unregister(self._socket)
            self._socket.close()

    def _on_exit(self, now: float) -> None:
        self._loop.unregister(self._pidfd)
        self._pidfd.close()
        self._hang_up()
        code = self._process.wait()
        if self._verdict is not None and self._verdict != "it hung up":
            how = self._verdict
        elif code < 0:
            how = signal.Signals(-code).name
        else:
            how = f"exit code {code}"
        self._ended(how, now - self._began, now)


class _PidFd:
    """A descriptor that is readable once the process has ended (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def _when(pause: float) -> str:
    return f"next start in {pause:g} s" if pause else "it is started again at once"
