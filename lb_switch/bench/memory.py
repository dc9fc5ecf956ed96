"""Bytes per established connection: growth of the resident set, shared out.

Where the bytes were allocated is told too, for fewer connections and by `tracemalloc`, which does
not see what the allocator itself wastes.
"""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

from lb_switch.bench import collector
from lb_switch.bench.world import World
from lb_switch.daemon.loop import sweep_if_due

CONNECTIONS = 1_000_000
WARM_UP = 1_000
RATE = 10_000
"""Connections a (virtual) second."""
BATCH = 64

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """The resident set of this process, in bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def fill(world: World, first: int, last: int) -> None:
    """Establish connections `first` up to `last`, a handshake each, timers and collector at work.

    Each has its own time of the last packet, tallies and acknowledgement numbers, as live ones do.
    """
    for number in range(first, last):
        world.now = number / RATE
        world.establish(number)
        if not number % BATCH:
            world.timers()
            sweep_if_due()


def run(quick: bool) -> dict[str, Any]:
    """Fill a table and look at what the process takes more than before."""
    count = CONNECTIONS // 10 if quick else CONNECTIONS
    world = World(2 * CONNECTIONS)
    fill(world, 0, WARM_UP)
    with collector.as_in_the_loop():
        before = resident()
        fill(world, WARM_UP, WARM_UP + count)
        after = resident()
    assert len(world.switch.connections) == WARM_UP + count
    return {
        "connections": count,
        "measured": "resident set of the process",
        "bytes_per_connection": round((after - before) / count, 1),
        "allocated_at": _places(count // 10),
    }


def _places(count: int) -> dict[str, float]:
    """Bytes per connection by `file:line`, the largest first; less than one byte is left out."""
    world = World(2 * CONNECTIONS)
    tracemalloc.start()
    try:
        with collector.as_in_the_loop():
            fill(world, 0, count)
            snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    shares = {
        f"{Path(place.traceback[0].filename).name}:{place.traceback[0].lineno}": place.size / count
        for place in snapshot.statistics("lineno")
    }
    return {place: round(share, 1) for place, share in shares.items() if share >= 1}
