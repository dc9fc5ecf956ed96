"""The loop, on the in-memory capture and a clock that tests turn."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from lb_switch.capture.interface import CaptureError
from lb_switch.capture.memory import MemoryCapture
from lb_switch.daemon.loop import BATCH, ENDING, Loop
from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason
from tests.support.packets import tcp

STRANGER = tcp(("10.0.1.2", 40000), ("10.0.9.9", 80), "S")


class Clock:
    """Time that passes only while the loop waits: each reading is a second later."""

    def __init__(self) -> None:
        self.now = 100.0
        self.readings = 0

    def __call__(self) -> float:
        self.readings += 1
        self.now += 1.0
        return self.now


class Bed:
    """A loop on a memory capture, which stops itself after `ready` has run."""

    def __init__(self, **options: Any) -> None:
        self.switch, self.capture, self.clock = Switch(), MemoryCapture(), Clock()
        self.loop = Loop(
            self.switch, self.capture, on_ready=self._ready, clock=self.clock, **options
        )
        self.ready: Callable[[], None] = self.loop.stop

    def _ready(self, _now: float) -> None:
        self.ready()


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_packets_are_handled_in_bounded_batches(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(BATCH + 5):
        bed.capture.feed(STRANGER)
    batches: list[tuple[int, float]] = []
    handle_batch = bed.capture.handle_batch

    def recorded(switch: Switch, now: float, limit: int) -> int:
        count = handle_batch(switch, now, limit)
        batches.append((count, now))
        if sum(n for n, _ in batches) == BATCH + 5:
            bed.loop.stop()
        return count

    monkeypatch.setattr(bed.capture, "handle_batch", recorded)
    bed.ready = lambda: None
    bed.loop.run()
    assert batches == [(BATCH, 102.0), (5, 103.0)]
    assert bed.clock.readings == 3, "once at the start, once per wake-up"
    assert bed.switch.counters[Reason.NOT_FOR_THE_SWITCH] == BATCH + 5


def test_a_listener_is_told_a_time_of_its_own_for_every_packet(bed: Bed) -> None:
    times: list[float] = []

    def observe(event: Event) -> None:
        if isinstance(event, PacketEvent):
            times.append(event.time)
        if len(times) == 3:
            bed.loop.stop()

    bed.switch.listen(observe)
    for _ in range(3):
        bed.capture.feed(STRANGER)
    bed.ready = lambda: None
    bed.loop.run()
    assert times == [102.0, 103.0, 104.0]


def test_timers_run_when_due_and_their_packets_are_sent(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[float] = []

    def handle_timers(now: float) -> tuple[bytes, ...]:
        ran.append(now)
        if len(ran) == 2:
            bed.loop.stop()
        return (b"released",)

    monkeypatch.setattr(bed.switch, "next_deadline", lambda: 101.0 + len(ran))
    monkeypatch.setattr(bed.switch, "handle_timers", handle_timers)
    bed.ready = lambda: None
    bed.loop.run()
    assert ran == [102.0, 103.0]
    assert bed.capture.sent == [b"released", b"released"]


def test_an_exception_in_the_timers_does_not_stop_the_loop(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def handle_timers(_now: float) -> tuple[bytes, ...]:
        nonlocal calls
        calls += 1
        if calls == 2:
            bed.loop.stop()
        raise RuntimeError("a bug")

    monkeypatch.setattr(bed.switch, "next_deadline", lambda: 0.0)
    monkeypatch.setattr(bed.switch, "handle_timers", handle_timers)
    bed.ready = lambda: None
    bed.loop.run()
    assert calls == 2
    assert bed.switch.counters[Reason.INTERNAL_ERROR] == 2


def test_registered_files_get_their_turn(bed: Bed) -> None:
    mine, other = socket.socketpair()
    heard: list[tuple[bytes, float]] = []

    def hear(now: float) -> None:
        heard.append((mine.recv(10), now))
        if len(heard) == 2:
            bed.loop.unregister(mine)
            bed.loop.stop()
        else:
            other.send(b"two")
            raise RuntimeError("a callback's bug stops nothing")

    with mine, other:
        bed.loop.register(mine, hear)
        other.send(b"one")
        bed.ready = lambda: None
        bed.loop.run()
    assert heard == [(b"one", 102.0), (b"two", 103.0)]


def test_a_registered_file_can_wait_until_it_is_writable(bed: Bed) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        bed.loop.register(mine, lambda _now: pytest.fail("nothing to read"))
        bed.loop.register(mine, lambda _now: bed.loop.stop(), writing=True)
        bed.ready = lambda: None
        bed.loop.run()


def test_callbacks_at_a_time(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, float]] = []

    def first(now: float) -> None:
        heard.append(("first", now))
        bed.loop.call_at(now + 1.5, last)
        raise RuntimeError("a callback's bug stops nothing")

    def last(now: float) -> None:
        heard.append(("last", now))
        bed.loop.stop()

    monkeypatch.setattr(bed.switch, "next_deadline", lambda: 104.0)
    bed.loop.call_at(102.5, lambda now: heard.append(("second", now)))
    bed.loop.call_at(101.5, first)
    bed.ready = lambda: None
    bed.loop.run()
    assert heard == [("first", 102.0), ("second", 103.0), ("last", 104.0)]


@pytest.mark.parametrize("number", [*ENDING[:11], signal.SIGRTMIN, signal.SIGRTMAX])
def test_signals_end_it_in_order(bed: Bed, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    bed.ready = lambda: os.kill(os.getpid(), number)
    bed.loop.run()
    assert bed.capture.fileno() == -1
    assert signal.getsignal(number) == before


def test_a_signal_during_the_start_ends_it_after_the_start(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = bed.capture.open

    def slow_open() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        opened()

    monkeypatch.setattr(bed.capture, "open", slow_open)
    bed.ready = lambda: None
    bed.loop.run()
    assert bed.capture.fileno() == -1


def test_no_signal_that_can_be_caught_kills_it() -> None:
    """Stops and their end, a child's end, and what says nothing by default are left as they are."""
    faults = {"SIGILL", "SIGABRT", "SIGFPE", "SIGSEGV", "SIGBUS", "SIGTRAP", "SIGSYS", "SIGIOT"}
    never = {"SIGKILL", "SIGSTOP", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU"}
    quiet = {"SIGCHLD", "SIGCLD", "SIGURG", "SIGWINCH"}
    by_python = {"SIGPIPE", "SIGXFSZ"}
    named = {each.name for each in signal.Signals if each not in ENDING}
    left = named - faults - never - quiet - by_python - {"SIGHUP"}
    assert not left
    assert all(signal.getsignal(getattr(signal, name)) == signal.SIG_IGN for name in by_python)


def test_hangup_calls_back() -> None:
    hangups: list[float] = []

    def hang_up(now: float) -> None:
        hangups.append(now)
        os.kill(os.getpid(), signal.SIGTERM)

    bed = Bed(on_hangup=hang_up)
    bed.ready = lambda: os.kill(os.getpid(), signal.SIGHUP)
    bed.loop.run()
    assert hangups == [102.0]


def test_hangups_that_come_together_are_one() -> None:
    hangups: list[float] = []
    bed = Bed(on_hangup=hangups.append)

    def hang_up() -> None:
        for _ in range(30):
            os.kill(os.getpid(), signal.SIGHUP)

    bed.ready = hang_up
    bed.loop.call_at(110.0, lambda _now: bed.loop.stop())
    bed.loop.run()
    assert len(hangups) == 1


def test_the_end_goes_before_a_hangup() -> None:
    hangups: list[float] = []
    bed = Bed(on_hangup=hangups.append)

    def both() -> None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)

    bed.ready = both
    bed.loop.run()
    assert hangups == []


def test_the_stop_is_announced_while_packets_are_still_captured() -> None:
    captured: list[bool] = []
    stopping: Bed = Bed(on_stop=lambda: captured.append(stopping.capture.fileno() >= 0))
    stopping.loop.run()
    assert captured == [True]


def test_the_capture_is_closed_when_it_fails(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> int:
        raise CaptureError("lbtun is gone")

    bed.capture.feed(STRANGER)
    monkeypatch.setattr(bed.capture, "handle_batch", gone)
    bed.ready = lambda: None
    with pytest.raises(CaptureError, match="lbtun is gone"):
        bed.loop.run()
    assert bed.capture.fileno() == -1


def test_the_collector_does_not_run_by_itself_and_never_sees_old_objects(bed: Bed) -> None:
    seen: list[tuple[bool, int]] = []
    kept: list[list[int]] = []

    def look() -> None:
        seen.append((gc.isenabled(), gc.get_freeze_count()))
        kept.extend([0] for _ in range(20_000))
        bed.capture.feed(STRANGER)

    def count(_now: float) -> None:
        seen.append((gc.isenabled(), gc.get_freeze_count()))
        bed.loop.stop()

    mine, other = socket.socketpair()
    with mine, other:
        bed.ready = look
        handle = bed.switch.handle_packet

        def then_tell(
            buffer: bytearray, start: int, length: int, now: float, partial: bool = False
        ) -> object:
            other.send(b"x")
            return handle(buffer, start, length, now, partial)

        bed.switch.handle_packet = then_tell  # type: ignore[method-assign,assignment]
        bed.loop.register(mine, count)
        bed.loop.run()
    (enabled, at_start), (still_enabled, later) = seen
    assert not enabled
    assert not still_enabled
    assert later - at_start > 15_000, "what survived is out of the collector's sight"
    assert gc.isenabled()
