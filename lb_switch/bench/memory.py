"""Bytes per established connection: growth of the resident set, shared out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lb_switch.bench import collector
from lb_switch.bench.world import World

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
            collector.after_a_batch()


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
    }
