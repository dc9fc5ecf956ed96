"""Floods through the engine: established transfers, newcomers, memory, and time for each packet.

By default each flood is small.  At full size (half a minute to a minute each)::

    export LB_SWITCH_FLOOD_PACKETS=2000000 LB_SWITCH_FLOOD_BOUND=100000
    pytest -s tests/switch/test_floods.py

The same floods on the wire: `scripts/attack`.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections import Counter
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from lb_switch.bench.collector import as_in_the_loop
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.servers import Forward
from lb_switch.engine.verdict import Action, Reason
from netns_lab.attack import floods, headers
from netns_lab.attack.headers import UDP
from tests.support.siege import (
    PORT,
    SLOW,
    Answer,
    Ends,
    Siege,
    Talk,
)

PACKETS = int(os.environ.get("LB_SWITCH_FLOOD_PACKETS", "10000"))
BOUND = int(os.environ.get("LB_SWITCH_FLOOD_BOUND", "3000"))
TRANSFERS = max(50, BOUND // 100)
RATE = 100_000
"""Packets of the flood in a second of the engine's time."""
LAG = max(20, BOUND // 50)
"""Packets of the flood that come between two packets of a newcomer: its way there or back.  Four
newcomers of each protocol come meanwhile."""
TRIES = 4
SERVED = 0.95
ENTRY_BYTES = 1200
"""Bytes of an entry, generously; what else grows: fragments that wait, the heap's slack."""
OTHER_BYTES = 48 << 20

SYNS: dict[str, Answer] = {"connect": "completed", "refused": "refused"}
"""SYNs whose handshake is completed, and nothing more said (of hosts that exist); and such that the
real server answers by a RST: their entries are closed, none is half-open for long."""

Steps = Generator[None, None, bool]


def tcp_newcomer(siege: Siege, number: int) -> Steps:
    """Connect and exchange something; a lost packet is sent again, a refusal is the end."""
    for attempt in range(TRIES):
        steps = Talk(siege, 20_000 + number % 40_000, number * 7919 + attempt).steps()
        while True:
            try:
                verdict = next(steps)
            except StopIteration as end:
                if end.value:
                    return True
                break
            if verdict is not None and verdict.action is Action.REPLY:
                return False
            yield
        for _ in range(3):
            yield
    return False


def udp_newcomer(siege: Siege, number: int) -> Steps:
    """Ask; ask again where no answer comes."""
    target = siege.target
    ports = (20_000 + number % 40_000).to_bytes(2, "big") + PORT.to_bytes(2, "big")
    asking = Ends(target.client, target.vip, ports)
    question = b"the name of number %d?" % number
    for _ in range(TRIES):
        verdict = siege.put(headers.udp(*asking, question))
        if verdict.action is Action.REPLY:
            return False
        if verdict.action is Action.FORWARD:
            answering = siege.out().turned_round()
            yield
            verdict = siege.put(headers.udp(*answering, question[::-1]))
            if verdict.action is Action.FORWARD and siege.out() == asking.turned_round():
                return True
        for _ in range(3):
            yield
    return False


class Newcomers:
    """Honest clients that come while the flood lasts, and how many are served."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege
        self._waiting: list[tuple[int, int, str, Steps]] = []
        self._number = 0
        self.tried = Counter[str]()
        self.served = Counter[str]()

    def come(self, count: int) -> None:
        """One by TCP and one by UDP; `count`: packets of the flood so far."""
        for name, client in (("tcp", tcp_newcomer), ("udp", udp_newcomer)):
            self._number += 1
            self.tried[name] += 1
            self._step(count, self._number, name, client(self._siege, self._number))

    def go_on(self, count: int) -> None:
        """Let those go on whose time has come."""
        while self._waiting and self._waiting[0][0] <= count:
            _, number, name, steps = heapq.heappop(self._waiting)
            self._step(count, number, name, steps)

    def finish(self, count: int) -> None:
        """Let all come to their end."""
        while self._waiting:
            count += LAG
            self.go_on(count)

    def _step(self, count: int, number: int, name: str, steps: Steps) -> None:
        try:
            next(steps)
        except StopIteration as end:
            self.served[name] += end.value
        else:
            heapq.heappush(self._waiting, (count + LAG, number, name, steps))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def excess_blocks(siege: Siege) -> int:
    """Objects that Python holds, less what the table and the fragments under way account for."""
    switch = siege.switch
    accounted = 20 * len(switch.connections) + 16 * len(switch.fragments)
    return sys.getallocatedblocks() - accounted


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [*floods.KINDS, *SYNS])
@pytest.mark.parametrize("forward", ["nat", "full_nat"])
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_a_flood(six: bool, forward: Forward, kind: str) -> None:
    # Full NAT: the ports of both real servers together are fewer than the table has room for.
    siege = Siege(six, forward, BOUND, (1024, 1024 + max(TRANSFERS * 2, BOUND // 4)))
    with as_in_the_loop():
        besiege(siege, kind)


def besiege(siege: Siege, kind: str) -> None:
    random = Random(kind)
    talks = [Talk(siege, 1024 + n, random.getrandbits(32)) for n in range(TRANSFERS)]
    for talk in talks:
        talk.open()
    connections = [talk.connection for talk in talks]
    newcomers = Newcomers(siege)
    memory = resident()
    settled = excess_blocks(siege)
    flood = floods.KINDS["syn" if kind in SYNS else kind](siege.target, random)
    for count, packet in enumerate(islice(flood, PACKETS)):
        siege.now += 1 / RATE
        if siege.put(packet).action is Action.FORWARD:
            siege.answer(SYNS.get(kind, "answered"))
        newcomers.go_on(count)
        if count % (LAG // 4) == 0:
            newcomers.come(count)
        if count % LAG == 0:
            talk = talks[count // LAG % TRANSFERS]
            assert talk.exchange(b"data %d" % count), f"a transfer ended after {count} packets"
        if count == PACKETS // 2:
            settled = excess_blocks(siege)
    grown = excess_blocks(siege) - settled
    memory = resident() - memory
    newcomers.finish(PACKETS)
    tried, served = newcomers.tried, newcomers.served
    print(
        f"{kind}: slowest packet {siege.slowest * 1000:.2f} ms, 99.99 % within"
        f" {siege.percentile(0.9999) * 1e6:.0f} µs; {memory / (1 << 20):.0f} MiB for a table of"
        f" {BOUND:,}; newcomers served: tcp {served['tcp']}/{tried['tcp']},"
        f" udp {served['udp']}/{tried['udp']}"
    )
    switch = siege.switch
    assert [talk.connection for talk in talks] == connections
    assert all(talk.exchange(b"at the end") for talk in talks)
    assert served["tcp"] >= SERVED * tried["tcp"]
    assert served["udp"] >= SERVED * tried["udp"]
    assert len(switch.connections) <= BOUND
    assert switch.counters[Reason.INTERNAL_ERROR] == 0
    assert memory < BOUND * ENTRY_BYTES + OTHER_BYTES
    assert grown < PACKETS / 8, f"{grown} objects stay of the second half of the flood"
    assert siege.slowest < SLOW
    check_invariants(switch)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("forward", ["nat", "full_nat"])
def test_answers_that_all_come_late_make_no_packet_slow(forward: Forward) -> None:
    """Whoever then looks for one that may give way must not have to walk past all the others."""
    bound = max(BOUND, 60_000)
    siege = Siege(False, forward, bound, (1024, 65535))
    questions = floods.udp(siege.target, Random(1))
    answers = []
    with as_in_the_loop():
        for packet in islice(questions, bound):
            siege.now += 1 / RATE
            if siege.put(packet).action is Action.FORWARD:
                answers.append(siege.out().turned_round())
        for answering in answers:
            siege.put(headers.udp(*answering, b"an answer, at last"))
        for packet in islice(questions, 1000):
            siege.now += 1 / RATE
            siege.put(packet)
    assert siege.slowest < SLOW
    check_invariants(siege.switch)


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_newcomers_of_both_kinds_are_served_in_peace(six: bool) -> None:
    """Or the tests above would measure clients that cannot be served."""
    siege = Siege(six, "full_nat", 100, (1024, 65535))
    newcomers = Newcomers(siege)
    for count in range(20):
        newcomers.come(count)
    newcomers.finish(20)
    assert newcomers.served == newcomers.tried == {"tcp": 20, "udp": 20}
    assert {connection.protocol for connection in siege.switch.connections} == {6, UDP}
