"""Bars of characters.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FAILED = "x"
LONGEST = 40
LONGEST_SLICE = 44
"""Characters of a bar, lest its line be longer than a terminal's."""


def bars(rows: Sequence[tuple[str, float, str]], longest: int = LONGEST) -> list[str]:
    """Return one line per (label, value, text of the value): the largest has the longest bar."""
    largest = max((value for _, value, _ in rows), default=0.0)
    label_width = max((len(label) for label, _, _ in rows), default=0)
    return [
        f"{label:<{label_width}}  {_length(value, largest, longest) * '#':<{longest}}  {text}"
        for label, value, text in rows
    ]


def slice_heading(servers: Sequence[str], per_character: int) -> str:
    """Return what stands above the lines of `slice_line`."""
    symbols = " ".join(symbol(name) for name in servers)
    count = "one" if per_character == 1 else str(per_character)
    return (
        f"{'time':>6} {'answered':>9} {'failed':>7}   "
        f"{symbols}: {count} by {' '.join(servers)}; {FAILED}: {count} failed"
    )


def slice_line(
    end: float, answered: Mapping[str, int], failed: int, servers: Sequence[str], per_character: int
) -> str:
    """Return a slice of time as one line, its bar made of who answered.

    end: seconds.  answered: by server; those that are not in `servers` count, but have no bar.
    """
    bar = "".join(
        symbol(name) * _characters(answered.get(name, 0), per_character) for name in servers
    )
    bar += FAILED * _characters(failed, per_character)
    if len(bar) > LONGEST_SLICE:
        bar = f"{bar[:LONGEST_SLICE]}+"
    return f"{end:>5.1f}s {sum(answered.values()):>9} {failed:>7}   {bar}".rstrip()


def symbol(server: str) -> str:
    """Return the one character that stands for a server: `2` for `s2`."""
    return server[-1]


def _characters(count: int, per_character: int) -> int:
    # Something that happened is never invisible.
    return max(1, round(count / per_character)) if count else 0


def _length(value: float, largest: float, longest: int) -> int:
    if value <= 0:
        return 0
    return max(1, round(longest * value / largest))
