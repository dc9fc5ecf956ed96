"""A reader that wants so many packets a second at the most: the others cost nothing."""

from __future__ import annotations

import json

from lb_switch.engine.listeners import EVERYTHING, PACKETS
from lb_switch.stream.hub import SHARES, Hub
from tests.support.dialogue import CLIENT, VIP, Dialogue, make_switch, send
from tests.support.packets import tcp


class Kept:
    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def put(self, line: bytes) -> None:
        self.lines.append(json.loads(line))

    def drop(self) -> None:
        raise AssertionError("an event that cannot be told")

    def flush(self) -> None:
        pass

    def packets(self) -> int:
        return sum(line["event"] == "packet" for line in self.lines)


def test_a_share_of_the_packets_in_each_part_of_a_second() -> None:
    switch = make_switch()
    Dialogue(switch).handshake()
    packet = tcp(CLIENT, VIP, "A", seq=1001, ack=5001)
    hub, few, every = Hub(switch), Kept(), Kept()
    hub.add(few, PACKETS, most=4 * SHARES)
    for _ in range(10):
        send(switch, packet)
    assert few.packets() == 4
    assert switch.listeners.packets is None, "nobody wants one now: none is made"
    hub.add(every, PACKETS)
    for _ in range(3):
        send(switch, packet)
    assert (few.packets(), every.packets()) == (4, 3)
    hub.refill()
    for _ in range(5):
        send(switch, packet)
    assert (few.packets(), every.packets()) == (8, 8)
    hub.remove(few)
    hub.refill()
    hub.remove(every)
    assert not switch.listeners


def test_other_events_are_told_all_the_same() -> None:
    switch = make_switch()
    hub, reader = Hub(switch), Kept()
    hub.add(reader, EVERYTHING, most=1)
    for port in range(40000, 40005):
        Dialogue(switch, ("10.0.1.11", port)).handshake()
    assert reader.packets() == 1
    assert sum(line["event"] == "connection" for line in reader.lines) == 10
