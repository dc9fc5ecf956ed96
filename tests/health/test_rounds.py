"""When probes start, and in which order their results count; in virtual time."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random

import pytest

from lb_switch.health.check import Target
from lb_switch.health.rounds import MAX_UNDER_WAY, Rounds
from lb_switch.health.tracker import ProbeResult
from tests.health import virtual_time

PASS = ProbeResult(True, "connected")


def target(interval: float, timeout: float = 1.0, last: int = 1) -> Target:
    return Target(
        "tcp", ipaddress.ip_address(f"10.0.{last // 256}.{last % 256}"), 80, interval, timeout
    )


class Scene:
    """Rounds whose probes take as long as `takes` says; everything is written down."""

    def __init__(self, jitter: float = 0.0) -> None:
        self.started: list[tuple[float, str]] = []
        self.reported: list[tuple[float, int, str]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.rounds = Rounds(self._probe, self._report, lambda: jitter)

    async def _probe(self, target: Target) -> ProbeResult:
        loop = asyncio.get_running_loop()
        number = len(self.started)
        self.started.append((round(loop.time(), 3), str(target.ip)))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await asyncio.sleep(self.seconds(number, target))
        finally:
            self.under_way -= 1
        return ProbeResult(True, f"probe {number}")

    def seconds(self, number: int, target: Target) -> float:
        return 0.001

    def _report(self, number: int, result: ProbeResult) -> None:
        now = asyncio.get_running_loop().time()
        self.reported.append((round(now, 3), number, result.finding))

    def run(self, seconds: float, *targets: Target) -> None:
        async def play() -> None:
            for number, each in enumerate(targets, 1):
                self.rounds.start(number, each)
            await asyncio.sleep(seconds)

        virtual_time.run(play)


def test_an_interval_is_from_start_to_start() -> None:
    scene = Scene()
    scene.seconds = lambda number, target: 0.4  # type: ignore[method-assign]
    scene.run(2.25, target(0.5))
    assert [time for time, _ in scene.started] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [time for time, *_ in scene.reported] == [0.4, 0.9, 1.4, 1.9]


@pytest.mark.parametrize(("interval", "first"), [(0.4, 0.1), (1.0, 0.25), (30.0, 0.25)])
def test_the_first_probe_comes_within_a_second_or_an_interval(
    interval: float, first: float
) -> None:
    scene = Scene(jitter=0.25)
    scene.run(1.0, target(interval))
    assert scene.started[0][0] == first


def test_probes_longer_than_the_interval_overlap() -> None:
    """Else a black hole would be found after fall x timeout, not interval x fall + timeout."""
    scene = Scene()
    scene.seconds = lambda number, target: 1.0  # type: ignore[method-assign]
    scene.run(2.2, target(0.5))
    assert [time for time, _ in scene.started] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [time for time, *_ in scene.reported] == [1.0, 1.5, 2.0]
    assert scene.most_under_way <= 3


def test_results_count_in_the_order_in_which_their_probes_started() -> None:
    scene = Scene()
    lengths = [1.4, 0.1, 0.1, 0.1, 0.1]
    scene.seconds = lambda number, target: lengths[number]  # type: ignore[method-assign]
    scene.run(2.3, target(0.5))
    assert scene.reported == [
        (1.4, 1, "probe 0"),
        (1.4, 1, "probe 1"),
        (1.4, 1, "probe 2"),
        (1.6, 1, "probe 3"),
        (2.1, 1, "probe 4"),
    ]


def test_probes_of_one_check_are_bounded() -> None:
    scene = Scene()
    scene.seconds = lambda number, target: 100.0  # type: ignore[method-assign]
    scene.run(10.0, target(0.01, timeout=100.0))
    assert scene.most_under_way == MAX_UNDER_WAY


def test_what_is_stopped_is_heard_of_no_more() -> None:
    scene = Scene()
    scene.seconds = lambda number, target: 0.4  # type: ignore[method-assign]

    async def play() -> None:
        scene.rounds.start(1, target(0.5))
        scene.rounds.start(2, target(0.5))
        await asyncio.sleep(0.7)
        scene.rounds.stop(1)
        scene.rounds.stop(1)
        scene.rounds.stop(9)
        await asyncio.sleep(1.0)

    virtual_time.run(play)
    assert [time for time, number, _ in scene.reported if number == 1] == [0.4]
    assert [time for time, number, _ in scene.reported if number == 2] == [0.4, 0.9, 1.4]
    assert scene.under_way == 0


def test_a_number_that_is_started_again_follows_its_new_target() -> None:
    scene = Scene()

    async def play() -> None:
        scene.rounds.start(1, target(0.5, last=1))
        await asyncio.sleep(0.7)
        scene.rounds.start(1, target(0.1, last=2))
        await asyncio.sleep(0.25)

    virtual_time.run(play)
    assert scene.started == [
        (0.0, "10.0.0.1"),
        (0.5, "10.0.0.1"),
        (0.7, "10.0.0.2"),
        (0.8, "10.0.0.2"),
        (0.9, "10.0.0.2"),
    ]


def test_200_checks_of_which_a_third_never_answer() -> None:
    """Each is probed every second on its own beat, whatever happens to the others."""
    spread = random.Random(7)
    scene = Scene()
    scene.rounds = Rounds(scene._probe, scene._report, spread.random)
    targets = [target(1.0, timeout=1.0, last=n) for n in range(1, 201)]
    black_holes = {str(each.ip) for each in targets[::3]}
    scene.seconds = (  # type: ignore[method-assign]
        lambda number, target: 1.0 if str(target.ip) in black_holes else 0.002
    )
    scene.run(10.0, *targets)
    for number, each in enumerate(targets, 1):
        starts = [time for time, ip in scene.started if ip == str(each.ip)]
        assert 9 <= len(starts) <= 10
        gaps = {round(b - a, 3) for a, b in itertools.pairwise(starts)}
        assert gaps == {1.0}
        took = 1.0 if str(each.ip) in black_holes else 0.002
        ends = [time for time, n, _ in scene.reported if n == number]
        assert ends == [pytest.approx(start + took, abs=0.002) for start in starts[: len(ends)]]
        assert len(starts) - len(ends) <= 1
    first = sorted({ip: time for time, ip in reversed(scene.started)}.values())
    assert first[0] < 0.05
    assert first[-1] > 0.95
    assert max(b - a for a, b in itertools.pairwise(first)) < 0.1, "spread, not bunched"
