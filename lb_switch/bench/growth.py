"""The longest time of a single packet while the table grows.

`run`: with whole handshakes; `run_flood`: with SYNs alone, so that every connection is half-open.
Timers and collector get their turn after each batch, as in the live loop; how long they hold up
the packets is noted beside them, as *pauses*.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lb_switch.bench import collector
from lb_switch.bench.clocks import Control, Longest, mark
from lb_switch.bench.memory import BATCH
from lb_switch.bench.world import World, client_key, tcp_packet
from lb_switch.daemon.loop import sweep_if_due
from lb_switch.engine.packet.tcp import ACK, SYN

CONNECTIONS = 2_000_000
WARM_UP = 10_000
FLOOD_RATE = 50_000
"""SYNs a (virtual) second: 2,000,000 within the timeout of SYN_RECV."""
RATE = 10_000
PACKET_SECONDS = 5e-6
"""How long the control is to take: about as long as the packet that opens a connection."""


def run(quick: bool) -> dict[str, Any]:
    """Grow with whole handshakes."""
    return _grow(quick, handshake=True)


def run_flood(quick: bool) -> dict[str, Any]:
    """Grow with SYNs alone."""
    return _grow(quick, handshake=False)


def _grow(quick: bool, *, handshake: bool) -> dict[str, Any]:
    count = CONNECTIONS // 10 if quick else CONNECTIONS
    rate = RATE if handshake else FLOOD_RATE
    world = World(count + WARM_UP)
    control = Control(PACKET_SECONDS)
    packets, controls, pauses = Longest(), Longest(), Longest()
    handle, work = world.handle, control.work
    with collector.as_in_the_loop():
        for number in range(count + WARM_UP):
            if number == WARM_UP:
                packets, controls, pauses = Longest(), Longest(), Longest()
            world.now = number / rate
            for packet in _packets(world, number, handshake):
                world.put(packet)
                begin = mark()
                handle()
                packets.note(begin, number)
                begin = mark()
                work()
                controls.note(begin, number)
            if not number % BATCH:
                begin = mark()
                world.timers()
                sweep_if_due()
                pauses.note(begin, number)
    assert len(world.switch.connections) == count + WARM_UP
    return {
        "connections": count,
        "half_open": world.switch.connections.half_open,
        "packets": packets.summary(),
        "pauses": pauses.summary(),
        "control": controls.summary(),
    }


def _packets(world: World, number: int, handshake: bool) -> Iterator[bytes]:
    """The packets of one connection.  The second is made from what became of the first."""
    key = client_key(number)
    yield tcp_packet(key, SYN)
    if handshake:
        yield world.reply()
        yield tcp_packet(key, ACK)
