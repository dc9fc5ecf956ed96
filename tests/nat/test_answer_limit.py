"""How many answers leave at which time; time is a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.engine.nat.answer_limit import (
    BURST,
    Answer,
    AnswerLimit,
    AnswersPerSecond,
    TokenBucket,
)


def taken(bucket: TokenBucket, now: float, tries: int) -> int:
    return sum(bucket.spend(now) for _ in range(tries))


def test_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(8)
    assert taken(bucket, 1000.0, 20_000) == 50
    assert taken(bucket, 1000.0, 100) == 0
    assert taken(bucket, 1000.0625, 100) == 0, "half a token"
    assert taken(bucket, 1000.125, 100) == 1, "the half one was not lost by asking"
    assert taken(bucket, 1001.125, 100) == 8
    assert taken(bucket, 1007.0, 100) == 47
    assert taken(bucket, 1_000_000.0, 100) == 50, "never more than the burst"


def test_it_is_full_at_time_zero_and_where_time_begins_below() -> None:
    assert taken(TokenBucket(1), 0.0, 100) == 50
    assert taken(TokenBucket(1000), -5.0, 100) == 50


@given(
    st.integers(1, 5000),
    st.lists(st.tuples(st.floats(0, 1, allow_nan=False), st.integers(1, 200)), max_size=40),
)
def test_never_more_than_burst_and_rate(rate: int, gaps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate)
    now, sent = 0.0, 0
    for gap, tries in gaps:
        now += gap
        sent += taken(bucket, now, tries)
        assert sent <= BURST + rate * now + 1e-6


def test_errors_alone_are_limited_by_default() -> None:
    limit = AnswerLimit(AnswersPerSecond())
    allowed = {kind: sum(limit.allows(kind, 3.0) for _ in range(20_000)) for kind in Answer}
    assert allowed == {Answer.ICMP_ERROR: 50, Answer.RESET: 20_000, Answer.ECHO_REPLY: 20_000}
    assert sum(limit.allows(Answer.ICMP_ERROR, 3.0 + n / 2000) for n in range(2001)) == 1000


@pytest.mark.parametrize("kind", Answer)
def test_one_kind_takes_nothing_from_another(kind: Answer) -> None:
    limit = AnswerLimit(AnswersPerSecond(1, 1, 1))
    assert sum(limit.allows(kind, 0.0) for _ in range(60)) == 50
    for other in set(Answer) - {kind}:
        assert sum(limit.allows(other, 0.0) for _ in range(60)) == 50


def test_other_rates_leave_the_bucket_of_an_unchanged_one() -> None:
    limit = AnswerLimit(AnswersPerSecond(1, 1, 0))
    for kind in (Answer.ICMP_ERROR, Answer.RESET):
        assert sum(limit.allows(kind, 0.0) for _ in range(60)) == 50
    limit.change(AnswersPerSecond(1, 0, 2))
    assert sum(limit.allows(Answer.ICMP_ERROR, 0.0) for _ in range(60)) == 0
    assert sum(limit.allows(Answer.RESET, 0.0) for _ in range(60)) == 60
    assert sum(limit.allows(Answer.ECHO_REPLY, 0.0) for _ in range(60)) == 50
