"""From results to transitions: rows, and a naive model for all sequences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.health.tracker import Health, ProbeResult, Tracker, Transition

FINDINGS: dict[str, ProbeResult] = {
    "+": ProbeResult(True, "status 200"),
    "-": ProbeResult(False, "connect refused"),
    "?": ProbeResult(None, "cannot probe: too many open files"),
}


def follow(tracker: Tracker, results: str) -> str:
    """Feed results at times 1, 2, …; return the health after each: U(p), D(own), ?."""
    letters = {Health.UP: "U", Health.DOWN: "D", Health.UNKNOWN: "?"}
    told = ""
    for time, letter in enumerate(results, 1):
        before = tracker.health
        transition = tracker.note(FINDINGS[letter], float(time))
        assert (transition is not None) == (tracker.health is not before)
        told += letters[tracker.health]
    return told


@pytest.mark.parametrize(
    ("sentence", "rise", "fall", "results", "health"),
    [
        ("the first pass decides at once", 3, 3, "+", "U"),
        ("the first failure decides at once", 3, 3, "-", "D"),
        ("it falls after so many consecutive failures", 2, 3, "+---", "UUUD"),
        ("a pass in between starts the count anew", 2, 3, "+--+--+---", "UUUUUUUUUD"),
        ("it rises after so many consecutive passes", 3, 1, "-+++", "DDDU"),
        ("a failure in between starts the count anew", 3, 1, "-++-++-+++", "DDDDDDDDDU"),
        ("with limits of one every result decides", 1, 1, "+-+-", "UDUD"),
        ("what could not be probed decides nothing", 2, 2, "???", "???"),
        ("and neither counts nor starts the count anew", 2, 2, "+-?-??+?+", "UUUDDDDDU"),
        ("it falls and rises again and again", 2, 2, "--++--++", "DDDUUDDU"),
    ],
)
def test_health_after_each_result(
    sentence: str, rise: int, fall: int, results: str, health: str
) -> None:
    assert follow(Tracker(rise, fall, 0.0), results) == health, sentence


def test_a_transition_says_when_from_what_to_what_and_why() -> None:
    tracker = Tracker(1, 2, 5.0)
    assert tracker.note(ProbeResult(True, "connected"), 6.0) == Transition(
        6.0, Health.UNKNOWN, Health.UP, "connected"
    )
    assert tracker.note(ProbeResult(False, "timeout after 1.0 s"), 7.0) is None
    assert (tracker.against, tracker.needed, tracker.cause) == (1, 2, "connected")
    assert tracker.note(ProbeResult(False, "connect refused"), 8.0) == Transition(
        8.0, Health.UP, Health.DOWN, "connect refused"
    )
    assert (tracker.since, tracker.cause, tracker.against) == (8.0, "connect refused", 0)
    assert tracker.last == ProbeResult(False, "connect refused")


def test_until_the_first_result_it_counts_as_healthy() -> None:
    tracker = Tracker(2, 2, 3.0)
    assert (tracker.healthy, tracker.health, tracker.since) == (True, Health.UNKNOWN, 3.0)
    tracker.note(FINDINGS["-"], 4.0)
    assert not tracker.healthy


def test_other_limits_count_anew_from_the_known_health() -> None:
    tracker = Tracker(2, 3, 0.0)
    follow(tracker, "+--")
    tracker.count_anew(1, 2)
    assert follow(tracker, "-") == "U"
    assert follow(tracker, "-+") == "DU"


@given(
    st.integers(1, 5), st.integers(1, 5), st.text(alphabet="+-?", max_size=40).filter(lambda s: s)
)
def test_against_a_naive_model(rise: int, fall: int, results: str) -> None:
    """The model looks at the whole history each time, instead of counting."""
    expected = ""
    state = "?"
    seen = ""
    for letter in results:
        if letter != "?":
            seen += letter
            wanted = "U" if letter == "+" else "D"
            limit = 1 if state == "?" else rise if wanted == "U" else fall
            if wanted != state and seen.endswith(letter * limit):
                state, seen = wanted, ""
        expected += state
    assert follow(Tracker(rise, fall, 0.0), results) == expected
