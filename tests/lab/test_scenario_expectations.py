"""The last word of a scenario: what was expected, what was seen, and whether they agree."""

import pytest

from netns_lab.scenarios.expectations import (
    Expectation,
    all_met,
    at_least,
    at_most,
    between,
    conclusion,
    exactly,
    table,
)


@pytest.mark.parametrize(
    ("expectation", "expected", "seen", "met"),
    [
        (exactly("x", 0, 0), "0", "0", True),
        (exactly("x", 0, 1), "0", "1", False),
        (exactly("x", "up down", "up up"), "up down", "up up", False),
        (at_most("x", 2.5, 2.5, "s"), "at most 2.50 s", "2.50 s", True),
        (at_most("x", 2.5, 2.51, "s"), "at most 2.50 s", "2.51 s", False),
        (at_most("x", 0.2, float("inf"), "s"), "at most 0.20 s", "inf s", False),
        (at_least("x", 1, 1, ""), "at least 1", "1", True),
        (at_least("x", 180.0, 179.6, ""), "at least 180", "180", False),
        (between("x", 32.0, 42.0, 32.0, ""), "32 to 42", "32", True),
        (between("x", 32.0, 42.0, 42.0, ""), "32 to 42", "42", True),
        (between("x", 32.0, 42.0, 31.0, "%"), "32 to 42 %", "31 %", False),
        (between("x", 32.0, 42.0, 43.0, "%"), "32 to 42 %", "43 %", False),
    ],
)
def test_figures_and_their_bounds(
    expectation: Expectation, expected: str, seen: str, met: bool
) -> None:
    assert expectation == Expectation("x", expected, seen, met)


def test_the_table_wraps_what_is_long_and_marks_each_figure_once() -> None:
    lines = table(
        [
            exactly("short", 0, 0),
            exactly("a figure whose name does not fit in one line at all", 0, 3),
        ]
    )
    assert lines == [
        "                                   expected            seen",
        "short                              0                   0              ok",
        "a figure whose name does not fit   0                   3              NOT OK",
        "in one line at all",
    ]


def test_it_fits_80_columns_with_its_indentation() -> None:
    lines = table([Expectation("word " * 30, "word " * 30, "word " * 30, met=False)])
    assert max(map(len, lines)) <= 76


def test_one_that_is_not_met_is_enough() -> None:
    good, bad = exactly("a", 1, 1), exactly("b", 1, 2)
    assert all_met([good, good])
    assert not all_met([good, bad])
    assert conclusion([good, good]) == "All of it is as expected."
    assert conclusion([good, bad, bad]) == "2 of 3 NOT as expected."


def test_nothing_measured_is_no_success() -> None:
    assert not all_met([])
    assert conclusion([]) == "0 of 0 NOT as expected."
