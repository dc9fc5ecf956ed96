"""Maglev's table around one slot, as a strip; and what moves when a real server leaves.

The table is built again from what a recording tells: addresses and weights.  A recording does not
tell the `hash_key`; with a secret one the table cannot be known, and none is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lb_switch.drawing import document, fill, rect, text
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.flow_key import FlowKey, pack_endpoint
from lb_switch.engine.scheduling.maglev import TABLE_SIZE
from lb_switch.engine.scheduling.mh import Maglev
from lb_switch.engine.servers import RealServer

_AROUND = 24
"""Slots that are shown on each side of the one that was hit."""
_CELL, _LEFT = 13, 150

_STYLE = """
.hit { fill: none; stroke: #1f2328; stroke-width: 2.5 }
.needless { fill: none; stroke: #1f2328; stroke-width: 1.2; stroke-dasharray: 2 2 }
"""
_STYLE_DARK = ".hit, .needless { stroke: #e6edf3 }"


class Strip(NamedTuple):
    """The table before and after a real server has left.  Owners are endpoints, by slot."""

    slot: int
    gone: str
    before: Sequence[str]
    after: Sequence[str]

    @property
    def moved(self) -> int:
        """How many slots of those that stay have another owner afterwards."""
        pairs = zip(self.before, self.after, strict=True)
        return sum(old != new for old, new in pairs if old != self.gone)

    @property
    def freed(self) -> int:
        """How many slots the one that leaves had."""
        return sum(owner == self.gone for owner in self.before)


def strip(
    chosen: str,
    candidates: Sequence[str],
    weights: Mapping[str, int],
    facts: Mapping[str, object],
    client: Endpoint,
    virtual: Endpoint,
) -> Strip | None:
    """Return the table that a choice was made from; None if it cannot be known.

    `facts` are those of the choice: which parts of the key were hashed, the hash, the slot.
    """
    slot = facts.get("slot")
    if not isinstance(slot, int) or any(weights.get(each, 0) < 1 for each in candidates):
        return None
    servers = tuple(RealServer(Endpoint.parse(each), weights[each]) for each in candidates)
    scheduler = Maglev(str(facts.get("hash_on")).split())
    (client_ip, client_port), (vip, port) = pack_endpoint(client), pack_endpoint(virtual)
    key = FlowKey(client_ip, vip, client_port, port).pack()
    explained = scheduler.explain(key, servers)
    if str(explained.server.endpoint) != chosen or explained.facts != facts:
        return None  # another hash_key, or the weights have changed since
    before = [str(each.endpoint) for each in scheduler.table(servers)]
    others = tuple(each for each in servers if str(each.endpoint) != chosen)
    after = (
        [str(each.endpoint) for each in scheduler.table(others)] if others else [""] * len(before)
    )
    return Strip(slot, chosen, before, after)


def svg(strip: Strip, name: Callable[[str], str]) -> str:
    """Return the slots around the one that was hit, before and after.  `name`: of an endpoint."""
    first = max(0, min(strip.slot - _AROUND, TABLE_SIZE - 2 * _AROUND - 1))
    slots = range(first, first + 2 * _AROUND + 1)
    owners = sorted({*strip.before, *strip.after} - {""}, key=_by_address)
    colours = {owner: fill(number) for number, owner in enumerate(owners)}
    gone = name(strip.gone)
    parts = [text(12, 24, f"slots {slots[0]:,} to {slots[-1]:,} of {TABLE_SIZE:,}", "head")]
    for words, row, y in (
        ("now", strip.before, 40),
        (f"without {gone}", strip.after, 76),
    ):
        parts.append(text(12, y + 16, words[:22]))
        for number, slot in enumerate(slots):
            x = _LEFT + number * _CELL
            owner = row[slot]
            parts.append(rect(x, y, _CELL - 1, 24, colours.get(owner, "track")))
            stays = strip.before[slot] != strip.gone
            if row is strip.after and stays and owner != strip.before[slot]:
                parts.append(rect(x, y, _CELL - 1, 24, "needless"))
    hit = _LEFT + (strip.slot - first) * _CELL
    parts.append(rect(hit - 1, 37, _CELL + 1, 66, "hit", 2))
    x = 12
    for owner in owners:
        parts += [rect(x, 116, 12, 12, colours[owner]), text(x + 18, 126, name(owner))]
        x += 40 + 7 * len(name(owner))
    width = _LEFT + len(slots) * _CELL + 12
    title = f"Maglev's table around slot {strip.slot}: now, and without {gone}"
    return document(max(width, x), 140, title, parts, _STYLE, _STYLE_DARK)


def _by_address(text: str) -> tuple[int, int, int]:
    ip, port = Endpoint.parse(text)
    return ip.version, int(ip), port
