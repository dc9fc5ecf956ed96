"""An attacker who sees nothing: blind segments in the names of both ends, at numbers he guesses.

A segment that its receiver refuses changes nothing that lasts (RFC 9293, section 3.10.7.4; RFC
5961).  By default the attack is small; at full size (a minute each)::

    LB_SWITCH_BLIND_PACKETS=1640000 pytest tests/switch/test_off_path.py

The same attack on the wire: `scripts/attack --kind blind`.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from lb_switch.bench.collector import as_in_the_loop
from lb_switch.engine.connections.tcp_state import REUSABLE, State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.servers import Forward
from lb_switch.engine.verdict import Action
from netns_lab.attack import blind
from netns_lab.attack.blind import Numbers
from tests.support.siege import SLOW, Siege, Talk, sequence_and_flags

PACKETS = int(os.environ.get("LB_SWITCH_BLIND_PACKETS", "66000"))
OF_EACH = max(4, min(100, PACKETS // 16_384))
"""Idle connections, and active ones: so few that the RSTs to each are 2 MiB apart."""
RATE = 100_000
PATIENCE = 130.0
"""Seconds that nobody speaks afterwards: every closing state ends in them, established ones do
not."""

families = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
forwards = pytest.mark.parametrize("forward", ["nat", "full_nat"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kinds", "spacing"),
    [(("rst",), "spaced"), (("fin",), "random"), (("syn",), "random"), (("data",), "random"),
     (tuple(blind.SEGMENTS), "random"), (tuple(blind.SEGMENTS), "spaced")],
    ids=["rst-spaced", "fin", "syn", "data", "all-random", "all-spaced"],
)  # fmt: skip
@forwards
@families
def test_blind_segments_end_and_shorten_nothing(
    six: bool, forward: Forward, kinds: tuple[str, ...], spacing: Numbers
) -> None:
    siege = Siege(six, forward, 1000, (1024, 65535))
    random = Random(f"{six} {forward} {kinds} {spacing}")
    talks = [Talk(siege, 2000 + n, random.getrandbits(32)) for n in range(2 * OF_EACH)]
    for talk in talks:
        talk.open()
    connections = [talk.connection for talk in talks]
    packets = PACKETS if kinds == ("rst",) else PACKETS // 4
    with as_in_the_loop():
        attack(siege, talks, kinds, spacing, packets, random)
    assert [talk.connection for talk in talks] == connections
    assert [talk.state for talk in talks] == [State.ESTABLISHED] * len(talks)
    assert active(siege) == len(talks)
    assert siege.slowest < SLOW
    siege.wait(PATIENCE)
    assert [talk.connection for talk in talks] == connections
    assert [talk.state for talk in talks] == [State.ESTABLISHED] * len(talks)
    assert all(talk.exchange(b"still here") for talk in talks)
    check_invariants(siege.switch)
    # What is true is still believed.
    for number, talk in enumerate(talks):
        assert talk.close() if number % 2 else talk.reset(number // 2 % 2)
    assert {talk.state for talk in talks} <= REUSABLE
    assert active(siege) == 0
    check_invariants(siege.switch)


def attack(
    siege: Siege,
    talks: list[Talk],
    kinds: tuple[str, ...],
    spacing: Numbers,
    packets: int,
    random: Random,
) -> None:
    """Segments in both names of each talk; half of the talks go on meanwhile, half are idle."""
    ends, whose = [], []
    for talk in talks:
        assert talk.server is not None
        for side, name in enumerate((talk.client, talk.server)):
            ends.append(blind.Ends(*name))
            whose.append((talk, side))
    busy = talks[::2]
    for count, packet in enumerate(blind.segments(ends, kinds, packets, spacing, random)):
        siege.now += 1 / RATE
        if siege.put(packet).action is Action.FORWARD:
            talk, side = whose[count % len(ends)]
            sequence, flags = sequence_and_flags(packet)
            talk.challenged(side, flags, sequence)
        if count % 7 == 0:
            talk = busy[count // 7 % len(busy)]
            assert talk.exchange(b"data %d" % count), f"a talk ended after {count} packets"


def active(siege: Siege) -> int:
    """The real servers' active connections."""
    return sum(
        server.active
        for group in siege.switch.virtual_servers.values()
        for server in group.real_servers
    )
