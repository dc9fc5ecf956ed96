"""Small attacks on the wire; `scripts/attack` has the large ones."""

from __future__ import annotations

import dataclasses

import pytest

from netns_lab.attack.__main__ import run
from netns_lab.attack.report import Attack

pytestmark = pytest.mark.netns

captures = pytest.mark.parametrize("capture", ["tun", "nfqueue"])

FLOOD = Attack("", "", 4, "mixed", 8_000, 6_000.0, 50, newcomers=10.0, max_connections=2_000)
BLIND = Attack("", "", 4, "blind", 8_000, 6_000.0, transfers=4, idle=4, spacing="spaced")


@captures
@pytest.mark.parametrize(("family", "forward"), [(4, "nat"), (6, "full_nat")])
def test_a_mixed_flood(capture: str, family: int, forward: str) -> None:
    attack = dataclasses.replace(FLOOD, capture=capture, family=family, forward=forward)
    seen, faults = run(attack, check_invariants=True)
    assert faults == []
    assert seen.sent == attack.packets
    assert seen.reached > attack.packets / 2
    assert seen.honest["messages"] > attack.transfers / 2
    assert seen.honest["tried"]["tcp"] == seen.honest["tried"]["udp"] >= 10


@captures
@pytest.mark.parametrize(("family", "forward"), [(6, "nat"), (4, "full_nat")])
def test_blind_segments_from_either_side(capture: str, family: int, forward: str) -> None:
    attack = dataclasses.replace(BLIND, capture=capture, family=family, forward=forward)
    seen, faults = run(attack, check_invariants=True)
    assert faults == []
    assert seen.sent >= attack.packets - 1
