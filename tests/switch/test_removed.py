"""A real server that was removed and is to let go of its live connections, by packets."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP

from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    make_switch,
    send,
)
from tests.support.packets import udp
from tests.support.roads import ReadableSwitch

ENDS = {False: (CLIENT, VIP, RIPS[:2]), True: (CLIENT6, VIP6, RIPS6)}


@pytest.fixture(params=[False, True], ids=["v4", "v6"])
def six(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["short_road", "readable_road"])
def switch(request: pytest.FixtureRequest, six: bool) -> Switch:
    kind = ReadableSwitch if request.param else Switch
    return make_switch(ENDS[six][1], ENDS[six][2], kind=kind)


def test_its_tcp_client_is_told_at_its_next_segment(switch: Switch, six: bool) -> None:
    client, vip, rips = ENDS[six]
    dialogue = Dialogue(switch, client, vip)
    dialogue.handshake()
    group = switch.virtual_servers["web"]
    first = group.real_servers[0]
    assert dialogue.rip == rips[0]
    group.remove(first)
    assert dialogue.client("PA", b"goes on").reason is Reason.KNOWN_CONNECTION
    group.end_lingering(first)
    seen = dialogue.client("PA", b"is told")
    assert (seen.reason, seen.told[0][TCP].flags) == (Reason.REAL_SERVER_DOWN, "R")
    assert dialogue.client("S").packet.dst == rips[1][0]
    assert first.active == 0
    check_invariants(switch)


def test_its_udp_client_moves_with_its_next_datagram(switch: Switch, six: bool) -> None:
    client, vip, rips = ENDS[six]
    group = switch.virtual_servers["dns"]
    first = group.real_servers[0]
    question = udp(client, vip, b"a question that comes again and again")
    assert send(switch, question).packet.dst == rips[0][0]
    group.remove(first)
    assert send(switch, question, 1.0).packet.dst == rips[0][0]
    group.end_lingering(first)
    seen = send(switch, question, 2.0)
    assert (seen.reason, seen.packet.dst) == (Reason.RESCHEDULED, rips[1][0])
    assert send(switch, question, 3.0).reason is Reason.KNOWN_CONNECTION
    check_invariants(switch)


def test_one_that_is_back_in_its_group_is_left_alone(switch: Switch, six: bool) -> None:
    client, vip, rips = ENDS[six]
    dialogue = Dialogue(switch, client, vip)
    dialogue.handshake()
    group = switch.virtual_servers["web"]
    first = group.real_servers[0]
    group.remove(first)
    group.end_lingering(first)
    assert group.add(first) is first
    assert dialogue.client("PA", b"goes on").packet.dst == rips[0][0]
    group.end_lingering(first)
    assert dialogue.client("PA", b"and on").packet.dst == rips[0][0]
