"""A prober that is late itself finds nothing against anybody."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Awaitable, Callable

import pytest

from lb_switch.health import probes
from lb_switch.health.check import Target
from lb_switch.health.probes import lateness, probe
from lb_switch.health.probes.lateness import BEAT, Lateness
from lb_switch.health.tracker import TOO_BUSY, Health, ProbeResult, Tracker

TARGET = Target("tcp", ipaddress.ip_address("127.0.0.1"), 1, 1.0, 0.4)


def judged(
    monkeypatch: pytest.MonkeyPatch, found: Callable[[Target], Awaitable[str]], busy: float
) -> ProbeResult:
    """Probe once, in a process that does something else for `busy` seconds in between."""
    watcher = Lateness()
    monkeypatch.setattr(probes, "LATENESS", watcher)
    monkeypatch.setattr(probes, "PROBES", {"tcp": found})

    async def run() -> ProbeResult:
        watching = asyncio.create_task(watcher.watch())
        await asyncio.sleep(2 * BEAT)
        probing = asyncio.create_task(probe(TARGET))
        await asyncio.sleep(BEAT)
        time.sleep(busy)
        try:
            return await probing
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    return asyncio.run(run())


async def never(_target: Target) -> str:
    await asyncio.sleep(60)
    return "connected"


async def refused(_target: Target) -> str:
    await asyncio.sleep(0.3)
    raise ConnectionRefusedError


async def soon(_target: Target) -> str:
    await asyncio.sleep(0.1)
    return "connected"


def test_a_timeout_of_a_prober_in_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, never, 0.0)[:2] == (False, "timeout after 0.4 s")


@pytest.mark.parametrize("busy", [0.2, 0.6])
def test_a_timeout_of_a_late_prober_says_nothing(
    monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    assert judged(monkeypatch, never, busy)[:2] == (None, TOO_BUSY)


def test_what_was_found_in_time_counts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, refused, 0.2)[:2] == (False, "connect refused")
    assert judged(monkeypatch, soon, 0.2)[:2] == (True, "connected")


def test_old_lateness_is_no_excuse() -> None:
    watcher = Lateness()
    watcher._beats.extend([(10.0, 3.0), (20.0, 0.001)])
    assert watcher.spoils(9.0, 1.0, 20.0)
    assert not watcher.spoils(15.0, 1.0, 20.0)
    assert not lateness.LATENESS.spoils(0.0, 1.0, 100.0), "nobody watches here"


def test_it_changes_no_health() -> None:
    tracker = Tracker(2, 2, 0.0)
    tracker.note(ProbeResult(True, "connected"), 1.0)
    for second in range(10):
        assert tracker.note(ProbeResult(None, TOO_BUSY), 2.0 + second) is None
    assert (tracker.health, tracker.against) == (Health.UP, 0)
