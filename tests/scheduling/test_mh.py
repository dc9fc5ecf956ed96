"""`mh` and its lookup table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from math import isqrt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling import maglev
from lb_switch.engine.scheduling.maglev import TABLE_SIZE, build_table
from lb_switch.engine.scheduling.mh import Maglev
from lb_switch.engine.servers import RealServer, VirtualServer
from tests.scheduling.groups import group, key, picks, set_health
from tests.scheduling.said import said

SMALL = 2_039
"""A prime, for properties that build many tables."""


def names(count: int) -> list[bytes]:
    return [f"10.0.2.{i}:80".encode() for i in range(count)]


def moved(
    old_names: list[bytes], old: list[int], new_names: list[bytes], new: list[int]
) -> tuple[int, int]:
    """Return how many slots changed hands, and how many of them had to."""
    pairs = [(old_names[a], new_names[b]) for a, b in zip(old, new, strict=True)]
    changed = [(a, b) for a, b in pairs if a != b]
    needed = [1 for a, b in changed if a not in new_names or b not in old_names]
    return len(changed), len(needed)


def test_the_table_size_is_prime_and_holds_the_papers_rule_for_163_servers() -> None:
    assert all(TABLE_SIZE % divisor for divisor in range(2, isqrt(TABLE_SIZE) + 1))
    assert TABLE_SIZE > 100 * 163


def test_the_example_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 1 and figure 5: offsets 3, 0, 3 and skips 4, 2, 1 in a table of seven slots."""
    monkeypatch.setattr(maglev, "_permutations", lambda *_: ([3, 0, 3], [4, 2, 1]))
    assert build_table([b"B0", b"B1", b"B2"], [1, 1, 1], size=7) == [1, 0, 1, 0, 2, 2, 0]


def test_the_example_of_the_paper_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maglev, "_permutations", lambda *_: ([3, 3], [4, 1]))
    # Besides B1's slots 0 and 2, only slot 6 changes hands, as the paper says.
    assert build_table([b"B0", b"B2"], [1, 1], size=7) == [0, 0, 0, 0, 1, 1, 1]


@given(st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_equal_weights_get_equal_shares_but_for_one_slot(count: int) -> None:
    shares = Counter(build_table(names(count), [1] * count, size=SMALL))
    assert len(shares) == count
    assert max(shares.values()) - min(shares.values()) <= 1


@given(st.lists(st.integers(1, 100), min_size=1, max_size=10))
@settings(max_examples=25, deadline=None)
def test_weights_are_met_within_one_turn(weights: list[int]) -> None:
    shares = Counter(build_table(names(len(weights)), weights, size=SMALL))
    total = sum(weights)
    # The table fills up in the middle of a round, in which everybody may have had one turn more
    # or less than its exact share; a round's rest is spread over all.
    for owner, weight in enumerate(weights):
        assert shares[owner] == pytest.approx(SMALL * weight / total, abs=2 + len(weights))


def test_enormous_weights_neither_starve_a_neighbour_nor_cost_time() -> None:
    shares = Counter(build_table(names(2), [65535, 65534]))
    assert abs(shares[0] - shares[1]) <= 1


@pytest.mark.parametrize("count", [2, 3, 10, 50, 100])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_few_more_than_necessary_move_when_one_leaves_or_joins(count: int, place: str) -> None:
    gone = {"first": 0, "middle": count // 2, "last": count - 1}[place]
    everybody = names(count)
    rest = everybody[:gone] + everybody[gone + 1 :]
    full = build_table(everybody, [1] * count)
    fewer = build_table(rest, [1] * (count - 1))
    for changed, needed in (
        moved(everybody, full, rest, fewer),
        moved(rest, fewer, everybody, full),
    ):
        assert needed == pytest.approx(TABLE_SIZE / count, abs=1)
        assert changed - needed <= 0.02 * TABLE_SIZE


def test_few_move_with_weights_too() -> None:
    weights = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    everybody = names(10)
    full = build_table(everybody, weights)
    for gone in (0, 5, 9):
        rest = everybody[:gone] + everybody[gone + 1 :]
        fewer = build_table(rest, weights[:gone] + weights[gone + 1 :])
        changed, needed = moved(everybody, full, rest, fewer)
        assert changed - needed <= 0.02 * TABLE_SIZE
    heavier = [*weights[:3], 5, *weights[4:]]
    changed, _ = moved(everybody, full, everybody, build_table(everybody, heavier))
    assert changed <= (1 / 55 + 0.02) * TABLE_SIZE


def test_the_configured_order_does_not_matter() -> None:
    rips = [f"10.0.2.{i}:{port}" for i in (11, 12, 9) for port in (80, 8080)] + ["[fd00::1]:80"]
    choices = []
    for order in (rips, rips[::-1]):
        scheduler = Maglev()
        web = VirtualServer(
            "web",
            Endpoint.parse("10.0.1.100:80"),
            TCP,
            scheduler,
            [RealServer(Endpoint.parse(rip)) for rip in order],
        )
        choices.append([scheduler.choose(key(i), web.usable_servers).endpoint for i in range(300)])
    assert choices[0] == choices[1]


_PROGRAM = """
from lb_switch.engine.scheduling.mh import Maglev
from tests.scheduling.groups import group, picks
print(picks(group(Maglev(hash_key="secret"), 1, 2, 3), 500))
"""


def test_every_process_chooses_alike() -> None:
    root = Path(__file__).parents[2]
    answers = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env=environment,
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        )
        answers.add(done.stdout.strip())
    assert answers == {picks(group(Maglev(hash_key="secret"), 1, 2, 3), 500)}


def test_the_hash_key_moves_clients() -> None:
    one, other = (group(Maglev(hash_key=secret), 1, 1, 1) for secret in ("one", "other"))
    assert picks(one, 100) != picks(other, 100)


def test_clients_of_the_others_stay_when_one_goes_down_and_all_return() -> None:
    web = group(Maglev(), 1, 1, 1)
    before = picks(web, 500)
    set_health(web, "b", False)
    during = picks(web, 500)
    assert "b" not in during
    stayed = sum(1 for old, new in zip(before, during, strict=True) if old == new)
    assert stayed >= 0.98 * (500 - before.count("b"))
    set_health(web, "b", True)
    assert picks(web, 500) == before


def test_explain_shows_hash_slot_and_server() -> None:
    web = group(Maglev(), 1, 1)
    explanation = web.scheduler.explain(key(3), web.usable_servers)
    hashed = int(str(explanation.facts["hash"]), 16)
    slot = hashed % TABLE_SIZE
    assert explanation.facts["slot"] == slot
    owner = build_table([b"10.0.2.11:80", b"10.0.2.12:80"], [1, 1])[slot]
    assert explanation.server is web.real_servers[owner]
    assert said(explanation).endswith(f"{hashed:016x} -> slot {slot} of {TABLE_SIZE}")
