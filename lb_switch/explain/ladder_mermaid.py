"""The ladder as a Mermaid sequence diagram (https://mermaid.js.org/syntax/sequenceDiagram.html)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lb_switch.explain.rungs import SWITCH, Lanes, Leg, Rung
from lb_switch.explain.who import address_of


def mermaid(rungs: Iterable[Rung]) -> Iterator[str]:
    """Yield the lines of a diagram with every machine as a participant."""
    steps = list(rungs)
    lefts = list(dict.fromkeys(_left(rung.lanes) for rung in steps))
    rights = list(dict.fromkeys(_right(rung.lanes) for rung in steps if rung.lanes.right))
    names = {machine: f"m{number}" for number, machine in enumerate(lefts)}
    for machine in rights:
        names.setdefault(machine, f"m{len(names)}")
    yield "sequenceDiagram"
    for machine in lefts:
        yield f"    participant {names[machine]} as {_text(machine)}"
    yield f"    participant lb as {SWITCH}"
    for machine in rights:
        if machine not in lefts:
            yield f"    participant {names[machine]} as {_text(machine)}"
    lanes = None
    for rung in steps:
        if rung.lanes != lanes:
            lanes = rung.lanes
            ends = [names[_left(lanes)], names[_right(lanes)] if lanes.right else "lb"]
            yield f"    Note over {','.join(dict.fromkeys(ends))}: {_text(_title(lanes))}"
        yield from _rung(rung, names)


def _rung(rung: Rung, names: dict[str, str]) -> Iterator[str]:
    left, right = names[_left(rung.lanes)], names.get(_right(rung.lanes), "lb")
    arrows = []
    if rung.left is not None:
        ends = (left, "lb") if rung.left.rightwards else ("lb", left)
        arrows.append((*ends, rung.left))
    if rung.right is not None:
        ends = ("lb", right) if rung.right.rightwards else (right, "lb")
        arrows.append((*ends, rung.right))
    if not rung.inward:
        arrows.reverse()
    for source, target, leg in arrows:
        yield f"    {source}{'-x' if leg.ends else '->>'}{target}: {_text(_label(leg))}"
    if rung.note:
        yield f"    Note right of lb: {_text(rung.note)}"
    if rung.after:
        where = "right of" if rung.has_legs else "over"
        yield f"    Note {where} lb: {_text(rung.after)}"


def _title(lanes: Lanes) -> str:
    return f"{lanes.title}, {lanes.left_address}" if lanes.left_address else lanes.title


def _label(leg: Leg) -> str:
    return " ".join(part for part in (leg.what, leg.also, leg.address) if part)


def _left(lanes: Lanes) -> str:
    return _machine(lanes.left, lanes.left_address)


def _right(lanes: Lanes) -> str:
    return _machine(lanes.right, lanes.right_address)


def _machine(name: str, place: str) -> str:
    address = address_of(place)
    return address if name in {place, address} else f"{name} {address}"


def _text(text: str) -> str:
    """Keep what Mermaid would take for syntax.

    `;` ends a statement, `#` begins an entity, `%` a comment, `<` and `>` are HTML or arrows.
    """
    return text.translate({ord(each): f"#{ord(each)};" for each in '#;%<>"{}'})
