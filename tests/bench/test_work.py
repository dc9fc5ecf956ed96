"""The counters that the guard trusts do see what they are to see."""

from __future__ import annotations

from tests.bench import work


def short() -> None:
    """Do one thing."""
    len("x")


def long() -> None:
    """Do ten times that, one call deeper."""
    for _ in range(10):
        short()


def test_more_code_is_more_instructions_also_in_functions_called() -> None:
    assert work.opcodes(short) > 0
    assert work.opcodes(long) > work.opcodes(short) + 9 * 5


def test_counting_twice_gives_the_same() -> None:
    assert len({work.opcodes(long) for _ in range(5)}) == 1


def test_calls_are_those_of_python_and_of_c() -> None:
    assert work.calls(short, short.__code__) == ["len"]
    assert work.calls(long, long.__code__) == ["short", "len"] * 10


def test_what_is_kept_is_seen_and_what_is_thrown_away_is_not() -> None:
    kept: list[list[object]] = []
    assert work.growth(lambda: kept.append([object()]), 1000) >= 1000
    assert work.containers(lambda: kept.append([object()]), 1000) >= 1000
    assert work.growth(lambda: [object()], 1000) < 10
    assert work.containers(lambda: [object()], 1000) < 10
