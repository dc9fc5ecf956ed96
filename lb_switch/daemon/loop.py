"""The loop: packets, timers, control messages and signals in one thread.

The only module that reads the clock.  Everything else is handed `now`, in seconds on a clock that
never goes back.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from lb_switch.capture.faults import FaultLog

if TYPE_CHECKING:
    from lb_switch.capture.interface import Capture
    from lb_switch.engine.switch import Switch

_log = logging.getLogger(__name__)

BATCH = 64
"""Packets handled before timers and control messages get their turn."""

BUSY_POLLS = 150
"""How often the loop looks for another packet, after it has handled some, before it sleeps: about
130 µs in all.  To be woken costs nearly that on many machines (a virtual one most of all); the
kernel's own word for it is busy polling (net.core.busy_poll).  Between two looks the core is
offered to whoever waits for it: the packet may be with him.  What it is worth stands in
netns_lab/bench/NOTES.md.  An idle switch sleeps."""

ENDING = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGXCPU,
    signal.SIGPOLL,
    signal.SIGPWR,
    signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)
"""Signals that end a process which does not catch them, except faults (signal(7)).  The switch ends
at each as at SIGTERM: what it has done to the host is undone.  Python ignores SIGPIPE already."""
_SIGNALS = (signal.SIGHUP, *ENDING)
_YOUNG_OBJECTS = 5_000


class HasFileno(Protocol):
    """Anything that epoll can watch."""

    def fileno(self) -> int:
        """Return its file descriptor."""


Callback = Callable[[float], None]
"""Called with `now` when its file is ready or its time has come."""


class Loop:
    """Runs one switch with one capture until `stop` or SIGINT or SIGTERM.

    `on_ready` is called with `now` once the capture is open, `on_stop` before it is closed again;
    `on_hangup` on each SIGHUP, with `now`.  `clock` returns seconds.
    """

    def __init__(
        self,
        switch: Switch,
        capture: Capture,
        *,
        on_ready: Callback | None = None,
        on_stop: Callable[[], None] | None = None,
        on_hangup: Callback | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.switch = switch
        self.capture = capture
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._on_hangup = on_hangup
        self._clock = clock
        self._stopping = False
        self._poll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._alarms: list[tuple[float, int, Callback]] = []
        """A heap; the number keeps callbacks of the same moment in order."""
        self._alarm_numbers = itertools.count()
        self._faults = FaultLog()

    def now(self) -> float:
        """Return what time it is, for whoever begins or ends something outside of `run`."""
        return self._clock()

    def register(self, fileobj: HasFileno, callback: Callback, writing: bool = False) -> None:
        """Call `callback(now)` whenever the file is readable (or writable too).

        Registering it again changes callback and direction.
        """
        fd = fileobj.fileno()
        events = select.EPOLLIN | (select.EPOLLOUT if writing else 0)
        if fd in self._callbacks:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._callbacks[fd] = callback

    def unregister(self, fileobj: HasFileno) -> None:
        """Forget the file.  Call it before the file is closed."""
        fd = fileobj.fileno()
        if self._callbacks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_at(self, when: float, callback: Callback) -> None:
        """Call `callback(now)` once, as soon as `now` is not before `when`.

        It cannot be taken back: the callback looks whether it is still wanted.
        """
        heapq.heappush(self._alarms, (when, next(self._alarm_numbers), callback))

    def stop(self) -> None:
        """End `run` after the current wake-up."""
        self._stopping = True

    def run(self) -> None:
        """Open the capture, serve until told to stop, close the capture whatever happens.

        Raises CaptureError if the capture cannot open or go on.  Only for the main thread.
        """
        signals = _Signals()
        # From here on a signal is a byte in a pipe: one that comes during `open` stops the loop
        # after it, so that what `open` installed is always removed.
        self.register(signals, lambda now: self._dispatch(signals.read(), now))
        was_enabled = gc.isenabled()
        try:
            self.capture.open()
            self._poll.register(self.capture.fileno(), select.EPOLLIN)
            gc.collect()
            gc.freeze()
            gc.disable()
            now = self._clock()
            if self._on_ready is not None:
                self._on_ready(now)
            try:
                self._serve(now)
            finally:
                if self._on_stop is not None:
                    self._on_stop()
        finally:
            try:
                self.capture.close()
            finally:
                if was_enabled:
                    gc.enable()
                gc.unfreeze()
                self.unregister(signals)
                signals.close()
                self._poll.close()

    def _serve(self, now: float) -> None:
        switch, capture, clock = self.switch, self.capture, self._clock
        poll, next_deadline = self._poll.poll, self._next_deadline
        capture_fd = capture.fileno()
        deadline = next_deadline()
        busy = False
        while not self._stopping:
            ready = self._look_again() if busy else ()
            if not ready:
                ready = poll(None if deadline is None else max(0.0, deadline - now))
            now = clock()
            busy = False
            for fd, _ in ready:
                if fd == capture_fd:
                    busy = True
                    # Who listens to packets is told when each came: each gets a time of its own.
                    limit = BATCH if switch.listeners.packets is None else 1
                    capture.handle_batch(switch, now, limit)
                else:
                    self._call(fd, now)
            # The deadline from before the batch may be gone, a new one may have come: ask again.
            deadline = next_deadline()
            if deadline is not None and deadline <= now:
                self._timers(now)
                deadline = next_deadline()
            sweep_if_due()

    def _look_again(self) -> list[tuple[int, int]]:
        """Look for the next packet a little longer, before the loop goes to sleep."""
        poll = self._poll.poll
        for _ in range(BUSY_POLLS):
            ready = poll(0)
            if ready:
                return ready
            os.sched_yield()
        return []

    def _next_deadline(self) -> float | None:
        deadline = self.switch.next_deadline()
        if self._alarms and (deadline is None or self._alarms[0][0] < deadline):
            return self._alarms[0][0]
        return deadline

    def _timers(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            _, _, callback = heapq.heappop(self._alarms)
            self._run(callback, now)
        try:
            packets = self.switch.handle_timers(now)
        except Exception:
            self._faults.note(self.switch)
        else:
            if packets:
                self.capture.send(packets)

    def _call(self, fd: int, now: float) -> None:
        callback = self._callbacks.get(fd)
        if callback is not None:  # else unregistered by a callback of the same wake-up
            self._run(callback, now)

    def _run(self, callback: Callback, now: float) -> None:
        try:
            callback(now)
        except Exception:
            # The traffic must go on, whatever a control message did.
            _log.exception("internal error in a callback")

    def _dispatch(self, numbers: bytes, now: float) -> None:
        """Do what signals ask for.  An end goes first; several reloads at once are one."""
        if any(number != signal.SIGHUP for number in numbers):
            self._stopping = True
        elif numbers and self._on_hangup is not None:
            self._on_hangup(now)


def sweep_if_due() -> None:
    """Collect the youngest objects' cycles and take the survivors out of the collector's sight.

    This stands in for the collector, which is off.  The cost is bounded by the objects made since
    the last time (some 0.3 ms), not by the size of the connection table; connections have no
    cycles and are freed by reference counting.
    """
    if gc.get_count()[0] > _YOUNG_OBJECTS:
        gc.collect(0)
        gc.freeze()


class _Signals:
    """Signals as bytes of a pipe (signal.set_wakeup_fd)."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _ignore) for number in _SIGNALS}

    def fileno(self) -> int:
        return self._reader

    def read(self) -> bytes:
        """Return the numbers of the signals that came, those of `_SIGNALS` only."""
        return bytes(n for n in os.read(self._reader, 4096) if n in _SIGNALS)

    def close(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._reader)
        os.close(self._writer)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Only the byte in the pipe counts."""
