"""The longest time that a packet waits while a large table expires.

Packets of connections that live on come in batches, and after each batch the timers get one
slice, as in the live loop.  A packet that arrives just as timers begin waits for the slice (and
for the collector's turn), then is handled itself: that sum is its *delay*.
"""

from __future__ import annotations

from typing import Any

from lb_switch.bench import collector
from lb_switch.bench.clocks import Control, Longest, mark
from lb_switch.bench.memory import RATE, fill, resident
from lb_switch.bench.world import World, client_key, tcp_packet
from lb_switch.daemon.loop import sweep_if_due
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.packet.tcp import ACK

CONNECTIONS = 1_000_000
LIVE = 1_000
"""Connections whose packets come meanwhile."""
CONTROL_SECONDS = 1e-3
"""About as long as a slice of timers."""
_STALLED = 200_000
"""Slices after which it counts as never ending."""


def run(quick: bool) -> dict[str, Any]:
    """Fill, let the time pass, and expire everything but the live ones."""
    count = CONNECTIONS // 10 if quick else CONNECTIONS
    world = World(count + LIVE)
    control = Control(CONTROL_SECONDS)
    delays, controls = Longest(), Longest()
    before = resident()
    with collector.as_in_the_loop():
        fill(world, 0, count + LIVE)
        filled = resident()
        table = world.switch.connections
        _keep_alive(world, count)
        slices = 0
        while len(table) > LIVE:
            begin = mark()
            world.timers()
            sweep_if_due()
            world.put(tcp_packet(client_key(count + slices % LIVE), ACK))
            world.handle()
            delays.note(begin, len(table))
            begin = mark()
            control.work()
            controls.note(begin, len(table))
            slices += 1
            assert slices < _STALLED
        emptied = resident()
    return {
        "connections": count,
        "slices": slices,
        "delays": delays.summary(),
        "control": controls.summary(),
        "resident_mb": {
            "before": round(before / 1e6),
            "full": round(filled / 1e6),
            "expired": round(emptied / 1e6),
        },
    }


def _keep_alive(world: World, first: int) -> None:
    """Let the timeout of all pass, but give the live ones a packet just before it is over.

    Their timers are looked at on the way, slice by slice, as they come due.
    """
    timeout = DEFAULT_TIMEOUTS[State.ESTABLISHED]
    world.now = first / RATE + timeout - 1.0
    for number in range(first, first + LIVE):
        world.put(tcp_packet(client_key(number), ACK))
        world.handle()
    world.now += LIVE / RATE + 2.0
