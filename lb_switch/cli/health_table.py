"""`show health` for people.  Input are the rows of the control protocol."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

WIDTH = 80

_HEADINGS = ("Virtual", "RealServer", "Health", "For", "Check", "Count", "Last")


def health(rows: Iterable[Row], probes: Row) -> Iterator[str]:
    """Yield a table of real servers, and a line on the process that probes them.

    `Count` is how many consecutive results speak against the present health, and how many change
    it.  `Last` is the last probe's finding; one that is too long for its row follows it.
    """
    table = [_HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        yield from _lines(cells, widths)
    yield from textwrap.wrap(_process(probes), WIDTH)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["virtual_server"],
        row["address"],
        row["state"],
        "-" if row["seconds"] is None else duration(row["seconds"]),
        _check(row),
        "-" if row["needed"] is None else f"{row['against']}/{row['needed']}",
        _last(row),
    )


def _lines(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield a row, each column as wide as its widest cell, and what of `Last` does not fit."""
    padded = [
        f"{cell:>{width}}" if heading == "For" else f"{cell:<{width}}"
        for cell, width, heading in zip(cells[:-1], widths, _HEADINGS, strict=False)
    ]
    row, last = "  ".join(padded), cells[-1]
    if len(whole := f"{row}  {last}".rstrip()) <= WIDTH:
        yield whole
    else:
        yield row.rstrip()
        yield from textwrap.wrap(last, WIDTH, initial_indent="    ", subsequent_indent="      ")


def duration(seconds: float) -> str:
    """Return `12.3s`, `5m07s`, `3h05m` or `4d03h`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, whole = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{whole:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    return f"{hours // 24}d{hours % 24:02}h"


def _check(row: Row) -> str:
    return "none" if row["check"] == "none" else f"{row['check']} {row['interval']:g}s"


def _last(row: Row) -> str:
    last = row["last"]
    if last is None:
        return "" if row["check"] == "none" else "no result yet"
    text = str(last["finding"])
    # After a single result of the other kind, why it is down is no longer the last finding.
    if row["state"] == "down" and row["cause"] != text:
        return f"{text} (down since: {row['cause']})"
    return text


def _process(probes: Row) -> str:
    restarts = f", restarts: {probes['restarts']}" if probes["restarts"] else ""
    trouble = f" (it {probes['trouble']})" if probes["trouble"] else ""
    match probes["state"]:
        case "running" | "starting":
            return f"Probe process {probes['state']}, pid {probes['pid']}{restarts}{trouble}"
        case "waiting":
            return f"PROBE PROCESS NOT RUNNING{trouble}{restarts}: the last known health stands"
        case _:
            return "No probe process: nothing is checked"
