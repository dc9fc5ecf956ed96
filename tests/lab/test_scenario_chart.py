"""Bars of characters, and slices of traffic as they are printed."""

import io
from typing import cast

import pytest

from netns_lab.request import Request
from netns_lab.scenarios import live_chart
from netns_lab.scenarios.chart import bars, slice_heading, slice_line
from netns_lab.scenarios.live_chart import LiveChart
from netns_lab.scenarios.narration import Narrator
from netns_lab.scenarios.running_traffic import Traffic

SERVERS = ("s1", "s2", "s3")


def test_the_largest_value_has_the_longest_bar() -> None:
    assert bars([("one", 10.0, "10/s"), ("three", 30.0, "30/s"), ("none", 0.0, "-")], 12) == [
        "one    ####          10/s",
        "three  ############  30/s",
        "none                 -",
    ]


def test_a_little_is_not_nothing() -> None:
    assert bars([("a", 0.01, ""), ("b", 1000.0, "")], 10)[0].split() == ["a", "#"]


def test_bars_of_nothing() -> None:
    assert bars([]) == []
    assert bars([("a", 0.0, "0")], 3) == ["a       0"]


def test_a_slice_shows_who_answered_and_what_failed() -> None:
    line = slice_line(2.0, {"s1": 6, "s3": 4}, 3, SERVERS, 2)
    assert line == "  2.0s        10       3   11133xx"


def test_a_single_failure_is_never_invisible() -> None:
    assert slice_line(0.5, {"s1": 300}, 1, ("s1",), 10).endswith(30 * "1" + "x")


def test_a_burst_does_not_break_the_line() -> None:
    line = slice_line(0.5, {"s1": 300}, 20, ("s1",), 1)
    assert line.endswith("  300      20   " + 44 * "1" + "+")
    assert len(line) <= 76


def test_the_heading_stands_above_its_columns() -> None:
    heading = slice_heading(SERVERS, 2)
    line = slice_line(0.5, {"s1": 2}, 0, SERVERS, 2)
    assert heading == "  time  answered  failed   1 2 3: 2 by s1 s2 s3; x: 2 failed"
    assert heading.index("1 2 3") == line.index("1", line.index("0 "))
    assert "one by s1" in slice_heading(SERVERS, 1)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Recorded:
    """Traffic that has happened already."""

    def __init__(self, *requests: Request) -> None:
        self.requests = list(requests)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_chart, "time", clock)
    return clock


def chart_of(stream: io.StringIO, *requests: Request) -> LiveChart:
    traffic = cast("Traffic", Recorded(*requests))
    return LiveChart(Narrator(stream), traffic, ("s1", "s2"), seconds=0.5, per_character=1)


def test_a_request_is_shown_in_the_slice_in_which_it_ended(clock: Clock) -> None:
    stream = io.StringIO()
    chart = chart_of(
        stream,
        Request(1000.0, 1000.1, "s1", None),
        Request(1000.4, 1000.5, "s2", None),
        Request(1000.2, 1000.9, None, "refused"),
        Request(1000.2, 1001.0, "s1", None),
    )
    chart.run(1.2)
    assert stream.getvalue().splitlines()[1:] == [
        "      0.5s         1       0   1",
        "      1.0s         1       1   2x",
    ]


def test_words_in_between_come_after_what_was_before_them(clock: Clock) -> None:
    stream = io.StringIO()
    chart = chart_of(stream)
    clock.now += 0.7  # somebody was busy with something else
    chart.note("s1 is killed")
    chart.run(0.5)
    assert stream.getvalue().splitlines()[1:] == [
        "      0.5s         0       0",
        "      0.7s --- s1 is killed",
        "      1.0s         0       0",
    ]


def test_others_get_room(clock: Clock) -> None:
    stream = io.StringIO()
    chart = chart_of(stream)
    clock.now += 0.6
    chart.give_way()
    print("    (others)", file=stream)
    chart.run(1.1)
    assert stream.getvalue().splitlines()[1:] == [
        "      0.5s         0       0",
        "    (others)",
        "",
        "      1.0s         0       0",
        "      1.5s         0       0",
    ]


def test_it_ends_when_something_has_happened_or_patience_is_over(clock: Clock) -> None:
    chart = chart_of(io.StringIO())
    assert chart.run_until(lambda: clock.now > 1002.0, 5.0)
    assert clock.now < 1002.1
    assert not chart.run_until(lambda: False, 1.0)
    assert clock.now < 1003.2
