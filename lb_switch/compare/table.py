"""The comparison as a table of 80 columns, and in words: one sentence for each scheduler.

The sentences are made from the numbers alone: another load may give another lesson.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from lb_switch.compare.schedulers import Comparison, Figures, Moves
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES

WIDTH = 80
_LABEL, _COLUMN, _ADDRESS = 31, 8, 21

EVEN = 0.01
"""Shares closer than this (one percentage point) count as met."""


def table(comparison: Comparison) -> Iterator[str]:
    """Yield the lines: what was compared, three blocks of numbers, a sentence for each scheduler.

    Schedulers are columns, so that any number of real servers fits.
    """
    yield from textwrap.wrap(headline(comparison), WIDTH)
    yield ""
    yield from _shares(comparison)
    yield ""
    yield from _loads(comparison)
    if comparison.leaver is not None:
        yield ""
        yield from _moves(comparison)
    yield ""
    for figures in comparison.figures:
        text = f"{figures.scheduler:<4} {sentence(figures, comparison)}"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent=" " * 5)


def headline(comparison: Comparison) -> str:
    """Say what was compared."""
    load, group = comparison.load, comparison.group
    return (
        f"{group.name} {PROTOCOL_NAMES[group.protocol]} {group.endpoint}:"
        f" {_count(len(load.arrivals), 'connection')} of {_count(load.clients, 'client')}"
        f" (the busiest opens {_percent(load.busiest)}) in {_seconds(load.span)} ({load.about})"
    )


def server_name(comparison: Comparison, index: int) -> str:
    """Return a real server's endpoint."""
    return str(comparison.group.real_servers[index][0])


def fitting(text: str) -> str:
    """Cut a long address in its middle: both ends tell addresses apart."""
    if len(text) <= _ADDRESS:
        return text
    front = _ADDRESS // 3
    return f"{text[:front]}…{text[front + 1 - _ADDRESS :]}"


def as_object(comparison: Comparison) -> dict[str, Any]:
    """Return all numbers for `--json`: shares from 0 to 1, active connections as [time, counts]."""
    load, leaver = comparison.load, comparison.leaver
    return {
        "virtual_server": comparison.group.name,
        "load": {
            "about": load.about,
            "connections": len(load.arrivals),
            "clients": load.clients,
            "seconds": load.span,
        },
        "real_servers": [
            {"address": str(endpoint), "weight": weight, "ideal_share": share}
            for (endpoint, weight), share in zip(
                comparison.group.real_servers, comparison.ideal, strict=True
            )
        ],
        "leaver": None if leaver is None else server_name(comparison, leaver),
        "schedulers": {
            figures.scheduler: {
                "connections": figures.connections,
                "shares": figures.shares,
                "refused": figures.refused,
                "active_mean": figures.active_mean,
                "spread_mean": figures.spread_mean,
                "spread_most": figures.spread_most,
                "moves": figures.moves
                and {**asdict(figures.moves), "beyond": figures.moves.beyond},
                "active": figures.active,
                "sentence": sentence(figures, comparison),
            }
            for figures in comparison.figures
        },
    }


def sentence(figures: Figures, comparison: Comparison) -> str:
    """Say what the numbers show about this scheduler."""
    parts = [_about_shares(figures, comparison), _about_spread(figures, comparison)]
    if figures.moves is not None:
        parts.append(_about_moves(figures.moves, comparison))
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


# -- words -------------------------------------------------------------------------------------


def _about_shares(figures: Figures, comparison: Comparison) -> str:
    shares, ideal = figures.shares, comparison.ideal
    if not sum(figures.connections):
        return "every connection was refused"
    # Rounded, so that of two that are equally far off the first is named.
    off = [round(abs(share - wanted), 9) for share, wanted in zip(shares, ideal, strict=True)]
    used = [share for share, wanted in zip(shares, ideal, strict=True) if wanted]
    equal = [abs(share - 1 / len(used)) for share in used]
    worst = off.index(max(off))
    if max(off) <= EVEN:
        return f"gives each real server its weight's share, to within {_points(max(off))}"
    missed = (
        f"{server_name(comparison, worst)} gets {_percent(shares[worst])}"
        f" where its weight says {_percent(ideal[worst])}"
    )
    # Least connections rotates among equals only, so it is a little off even when it treats
    # everybody alike: whichever it is nearer to names what it heeds.
    if len(set(ideal) - {0.0}) > 1 and max(equal) < max(off) / 2:
        return f"treats all alike, whatever their weight: {missed}"
    return f"misses the weights' shares by up to {_points(max(off))}: {missed}"


def _about_spread(figures: Figures, comparison: Comparison) -> str:
    best = min(comparison.figures, key=lambda each: each.spread_mean)
    own, least = figures.spread_mean, best.spread_mean
    if own <= least:
        return f"no other keeps active connections closer together ({own:.1f} apart on average)"
    times = f", {own / least:.1f} times as far as with {best.scheduler}" if least > 0 else ""
    return f"active connections lie {own:.1f} apart on average{times}"


def _about_moves(moves: Moves, comparison: Comparison) -> str:
    assert comparison.leaver is not None
    leaver = server_name(comparison, comparison.leaver)
    if moves.anyway:
        return (
            f"a client that comes back meets another real server in {_percent(moves.anyway)}"
            " of all cases though nobody left"
        )
    if not moves.beyond:
        return f"every client keeps its real server, and when {leaver} leaves only its own move"
    return (
        f"every client keeps its real server until {leaver} leaves: then {_percent(moves.must)}"
        f" must move, and {_percent(moves.beyond)} more do"
    )


# -- numbers -----------------------------------------------------------------------------------


def _shares(comparison: Comparison) -> Iterator[str]:
    every = comparison.figures
    yield _row("New connections, %", (figures.scheduler for figures in every))
    for index, (endpoint, weight) in enumerate(comparison.group.real_servers):
        label = f"  {fitting(str(endpoint))}  w {weight}"
        yield _row(label, (f"{figures.shares[index] * 100:.1f}" for figures in every))
    farthest = (f"{_farthest(figures, comparison) * 100:.1f}" for figures in every)
    yield _row("  farthest from the weight's", farthest)
    if any(figures.refused for figures in every):
        yield _row("  refused (number)", (str(figures.refused) for figures in every))


def _loads(comparison: Comparison) -> Iterator[str]:
    every = comparison.figures
    yield _row("Active connections", (figures.scheduler for figures in every))
    for index, (endpoint, _) in enumerate(comparison.group.real_servers):
        label = f"  {fitting(str(endpoint))}  mean"
        yield _row(label, (f"{figures.active_mean[index]:.1f}" for figures in every))
    yield _row("  spread*, mean", (f"{figures.spread_mean:.1f}" for figures in every))
    yield _row("  spread*, most", (f"{figures.spread_most:.1f}" for figures in every))
    weights = {weight for _, weight in comparison.group.real_servers}
    relative = ", each over its relative weight" if len(weights) > 1 else ""
    yield f"  * the most minus the fewest at a time{relative}"


def _moves(comparison: Comparison) -> Iterator[str]:
    assert comparison.leaver is not None
    leaver = server_name(comparison, comparison.leaver)
    yield f"When {leaver} leaves, at {_seconds(comparison.load.span / 2)}"
    rows: list[tuple[str, Callable[[Moves], str]]] = [
        ("  clients that come back", lambda moves: str(moves.returning)),
        ("  that must move, %", lambda moves: f"{moves.must * 100:.1f}"),
        ("  that move beyond that, %", lambda moves: f"{moves.beyond * 100:.1f}"),
        ("  that move if nobody leaves, %", lambda moves: f"{moves.anyway * 100:.1f}"),
    ]
    for label, cell in rows:
        all_moves = (figures.moves for figures in comparison.figures)
        yield _row(label, (cell(moves) if moves else "-" for moves in all_moves))


def _row(label: str, cells: Iterable[str]) -> str:
    return f"{label:<{_LABEL}}{''.join(cell.rjust(_COLUMN) for cell in cells)}"


def _farthest(figures: Figures, comparison: Comparison) -> float:
    return max(
        abs(share - wanted) for share, wanted in zip(figures.shares, comparison.ideal, strict=True)
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}s"


def _percent(share: float) -> str:
    return f"{share * 100:.1f}\N{NO-BREAK SPACE}%"


def _points(share: float) -> str:
    return f"{share * 100:.1f} points"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
