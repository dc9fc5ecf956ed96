"""Schedulers side by side: one load through each of them, and what can be read off.

    comparison = compare(load, group, settings)
    for figures in comparison.figures: ...

Three questions, each with its numbers:

- Who gets how many new connections?  Shares, and the weights' shares beside them.
- How even is the load at any moment?  The *spread* of active connections: the most minus the
  fewest, each divided by the real server's relative weight (its weight over the mean weight), so
  that weights which are heeded give an even picture.
- Whom does a client meet when it comes back?  In the middle of the load one real server leaves.  A
  client has *moved* if its first connection after that goes to another real server than its last
  one before.  Those who had met the leaver *must* move: that is the minimum, whatever lies beyond
  is the scheduler's doing.  Beside it: how many move when nobody leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lb_switch.compare.load import Load
from lb_switch.compare.run import ComparedGroup, Course, Leave, run
from lb_switch.engine.scheduling.catalogue import CATALOGUE
from lb_switch.engine.switch import Settings


@dataclass(frozen=True)
class Moves:
    """Shares, from 0 to 1, of the clients that come back after the middle of the load."""

    returning: int
    """How many do."""
    moved: float
    must: float
    """They had met the one that leaves."""
    anyway: float
    """They move as well when nobody leaves."""

    @property
    def beyond(self) -> float:
        """The share that moves without need."""
        return self.moved - self.must


@dataclass(frozen=True)
class Figures:
    """One scheduler's numbers; lists are by real server, in configured order."""

    scheduler: str
    connections: tuple[int, ...]
    refused: int
    active: tuple[tuple[float, tuple[int, ...]], ...]
    """From that time on, in seconds, so many active connections each."""
    active_mean: tuple[float, ...]
    spread_mean: float
    spread_most: float
    moves: Moves | None
    """None if there is no other real server to move to, or no client comes back."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Each real server's share of the new connections, from 0 to 1."""
        total = sum(self.connections)
        return tuple(count / total if total else 0.0 for count in self.connections)


@dataclass(frozen=True)
class Comparison:
    """All schedulers under one load.  `leaver` is the index of the real server that leaves."""

    load: Load
    group: ComparedGroup
    leaver: int | None
    figures: tuple[Figures, ...]

    @property
    def ideal(self) -> tuple[float, ...]:
        """Each real server's share of the weights."""
        weights = [weight for _, weight in self.group.real_servers]
        return tuple(weight / sum(weights) for weight in weights)


def compare(
    load: Load,
    group: ComparedGroup,
    settings: Settings,
    leaver: int | None = None,
    schedulers: Iterable[str] = tuple(CATALOGUE),
) -> Comparison:
    """Run the load through every scheduler.  `leaver`: by default the last usable real server.

    Raises ValueError if the load is empty or no real server is usable.
    """
    usable = [index for index, (_, weight) in enumerate(group.real_servers) if weight > 0]
    if not load.arrivals:
        raise ValueError("the load has no connection")
    if not usable:
        raise ValueError(f"{group.name}: no real server with a weight above 0")
    if leaver is None:
        leaver = usable[-1]
    elif leaver not in usable:
        raise ValueError(f"{group.real_servers[leaver][0]} has weight 0: it cannot leave")
    leave = Leave(load.span / 2, leaver) if len(usable) > 1 else None
    figures = []
    for scheduler in schedulers:
        course = run(load, group, scheduler, settings)
        left = run(load, group, scheduler, settings, leave) if leave else None
        figures.append(_figures(scheduler, load, group, course, left, leave))
    return Comparison(load, group, leave.leaver if leave else None, tuple(figures))


def _figures(
    scheduler: str,
    load: Load,
    group: ComparedGroup,
    course: Course,
    left: Course | None,
    leave: Leave | None,
) -> Figures:
    count = len(group.real_servers)
    connections = [0] * count
    for index in course.chosen:
        if index is not None:
            connections[index] += 1
    weights = [weight for _, weight in group.real_servers]
    periods = list(_periods(course.active, load.span))
    spreads = [(length, _spread(active, weights)) for length, active in periods]
    return Figures(
        scheduler,
        tuple(connections),
        sum(index is None for index in course.chosen),
        tuple(course.active),
        tuple(
            _mean([(length, active[index]) for length, active in periods]) for index in range(count)
        ),
        _mean(spreads),
        max((spread for _, spread in spreads), default=0.0),
        _moves(load, course, left, leave) if left and leave else None,
    )


def _periods(
    active: Sequence[tuple[float, tuple[int, ...]]], span: float
) -> Iterable[tuple[float, tuple[int, ...]]]:
    """Yield how long each state of affairs lasted within the load's span."""
    ends = [*active, (max(span, active[-1][0]), ())]
    for (begin, counts), (end, _) in pairwise(ends):
        length = min(end, span) - min(begin, span)
        if length > 0:
            yield length, counts


def _spread(active: Sequence[int], weights: Sequence[int]) -> float:
    """Return the most minus the fewest, each over its relative weight; weight 0 has no say."""
    used = [(count, weight) for count, weight in zip(active, weights, strict=True) if weight]
    mean = sum(weight for _, weight in used) / len(used)
    levels = [count * mean / weight for count, weight in used]
    return max(levels) - min(levels)


def _mean(values: Sequence[tuple[float, float]]) -> float:
    """Return the mean of (length, value), weighted by length."""
    total = sum(length for length, _ in values)
    return sum(length * value for length, value in values) / total if total else 0.0


def _moves(load: Load, course: Course, left: Course, leave: Leave) -> Moves | None:
    stayed, moved = _meetings(load, course, leave.time), _meetings(load, left, leave.time)
    if not moved or not stayed:
        return None
    return Moves(
        len(moved),
        _share(before != after for before, after in moved),
        _share(before == leave.leaver for before, _ in moved),
        _share(before != after for before, after in stayed),
    )


def _meetings(load: Load, course: Course, middle: float) -> list[tuple[int, int]]:
    """Return for each client that comes back: whom it met last before, and first after."""
    before: dict[object, int] = {}
    after: dict[object, int] = {}
    for arrival, index in zip(load.arrivals, course.chosen, strict=True):
        if index is None:
            continue
        if arrival.start < middle:
            before[arrival.client.ip] = index
        else:
            after.setdefault(arrival.client.ip, index)
    return [(index, after[client]) for client, index in before.items() if client in after]


def _share(facts: Iterable[bool]) -> float:
    known = list(facts)
    return sum(known) / len(known)
