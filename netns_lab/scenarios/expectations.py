"""What was expected against what was seen, as a small table.  Pure."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_COLUMNS = (34, 19, 14)
"""Characters for what was measured, what was expected and what was seen."""


class Expectation(NamedTuple):
    """One line of a conclusion, all of it text; `met` decides."""

    what: str
    expected: str
    seen: str
    met: bool


def exactly(what: str, expected: object, seen: object) -> Expectation:
    """Nothing but this will do."""
    return Expectation(what, str(expected), str(seen), seen == expected)


def at_most(what: str, limit: float, seen: float, unit: str) -> Expectation:
    """Up to so much, and no more."""
    return Expectation(what, f"at most {_with(limit, unit)}", _with(seen, unit), seen <= limit)


def at_least(what: str, limit: float, seen: float, unit: str) -> Expectation:
    """So much, or more."""
    return Expectation(what, f"at least {_with(limit, unit)}", _with(seen, unit), seen >= limit)


def between(what: str, low: float, high: float, seen: float, unit: str) -> Expectation:
    """From `low` to `high`, both included."""
    expected = f"{_number(low)} to {_with(high, unit)}"
    return Expectation(what, expected, _with(seen, unit), low <= seen <= high)


def table(expectations: Iterable[Expectation]) -> list[str]:
    """Return a heading and the expectations, long texts wrapped; at most 74 columns."""
    lines = [_row(("", "expected", "seen"), "")]
    for each in expectations:
        cells = (each.what, each.expected, each.seen)
        wrapped = [textwrap.wrap(text, width) for text, width in zip(cells, _COLUMNS, strict=True)]
        mark = "ok" if each.met else "NOT OK"
        for row in itertools.zip_longest(*wrapped, fillvalue=""):
            lines.append(_row(row, mark))
            mark = ""
    return lines


def all_met(expectations: Iterable[Expectation]) -> bool:
    """Whether everything was as expected.  Nothing at all was expected of nobody: False."""
    met = [each.met for each in expectations]
    return bool(met) and all(met)


def conclusion(expectations: Sequence[Expectation]) -> str:
    """Return the last sentence of a scenario."""
    if all_met(expectations):
        return "All of it is as expected."
    unmet = sum(not each.met for each in expectations)
    return f"{unmet} of {len(expectations)} NOT as expected."


def _row(cells: Sequence[str], mark: str) -> str:
    padded = (f"{text:<{width}}" for text, width in zip(cells, _COLUMNS, strict=True))
    return f"{' '.join(padded)} {mark}".rstrip()


def _with(number: float, unit: str) -> str:
    return f"{_number(number)} {unit}".rstrip()


def _number(number: float) -> str:
    """Return integers whole, and what is measured with the digits that can be trusted."""
    if isinstance(number, int):
        return str(number)
    return f"{number:.0f}" if abs(number) >= 20 else f"{number:.2f}"
