"""A packet's cost in a table of a million connections, against a table of a thousand.

Random access over all of them is the worst there can be for the processor's caches: no two
packets of the same connection are near each other.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

from lb_switch.bench import collector
from lb_switch.bench.memory import fill
from lb_switch.bench.world import START, World, client_key, tcp_packet
from lb_switch.engine.packet.tcp import ACK

SMALL, LARGE = 1_000, 1_000_000
PACKETS = 200_000
REPEATS = 7
_KEY_AT = START + 12
_KEY_SIZE = 12


def run(quick: bool) -> dict[str, Any]:
    """Microseconds per packet in both tables, measured in turn, and their ratio."""
    large = LARGE // 10 if quick else LARGE
    sizes = {SMALL: World(SMALL), large: World(large)}
    order = random.Random(1)  # noqa: S311 - the same order in every run
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    with collector.as_in_the_loop():
        for size, world in sizes.items():
            fill(world, 0, size)
        for _ in range(REPEATS):
            for size, world in sizes.items():
                # One string of bytes, read from beginning to end: the benchmark's own memory
                # shall not be what the caches miss.
                keys = b"".join(client_key(order.randrange(size)) for _ in range(PACKETS))
                costs[size].append(_cost(world, keys))
    small_cost, large_cost = (statistics.median(each) * 1e6 for each in costs.values())
    return {
        "small": SMALL,
        "large": large,
        "us_small": round(small_cost, 3),
        "us_large": round(large_cost, 3),
        "ratio": round(large_cost / small_cost, 3),
    }


def _cost(world: World, keys: bytes) -> float:
    """Seconds for a packet, the laying-in taken off."""
    packet = tcp_packet(client_key(0), ACK)
    size, buffer = len(packet), world.buffer
    handle, clock = world.switch.handle_packet, time.perf_counter
    now = world.now
    world.put(packet)
    known = world.switch.counters
    end = _KEY_AT + _KEY_SIZE
    begin = clock()
    for at in range(0, len(keys), _KEY_SIZE):
        buffer[_KEY_AT:end] = keys[at : at + _KEY_SIZE]
    laid = clock()
    for at in range(0, len(keys), _KEY_SIZE):
        buffer[_KEY_AT:end] = keys[at : at + _KEY_SIZE]
        handle(buffer, START, size, now)
    handled = clock()
    count = len(keys) // _KEY_SIZE
    changed = [each for each, value in world.switch.counters.items() if value != known[each]]
    assert [each.value for each in changed] == ["known_connection"]
    return ((handled - laid) - (laid - begin)) / count
