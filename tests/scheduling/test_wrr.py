from __future__ import annotations

from collections import Counter
from math import gcd

from hypothesis import given
from hypothesis import strategies as st

from lb_switch.scheduling.wrr import WeightedRoundRobin
from tests.scheduling.groups import group, picks, set_health

weights = st.lists(st.integers(1, 30), min_size=1, max_size=8)


def test_the_sequence_of_the_nginx_change_log() -> None:
    assert picks(group(WeightedRoundRobin(), 5, 1, 1), 14) == "aabacaa" * 2


def test_equal_weights_are_plain_rotation() -> None:
    assert picks(group(WeightedRoundRobin(), 3, 3, 3), 7) == "abcabca"


@given(weights)
def test_every_cycle_gives_every_server_exactly_its_share(group_weights: list[int]) -> None:
    web = group(WeightedRoundRobin(), *group_weights)
    divisor = gcd(*group_weights)
    share = {chr(ord("a") + i): weight // divisor for i, weight in enumerate(group_weights)}
    for _ in range(3):
        assert Counter(picks(web, sum(share.values()))) == share


@given(weights)
def test_nobody_is_ever_two_connections_ahead_of_or_behind_its_share(
    group_weights: list[int],
) -> None:
    web = group(WeightedRoundRobin(), *group_weights)
    total = sum(group_weights)
    counts = [0] * len(group_weights)
    for choice, letter in enumerate(picks(web, total), 1):
        counts[ord(letter) - ord("a")] += 1
        for count, weight in zip(counts, group_weights, strict=True):
            assert abs(count * total - choice * weight) < 2 * total


@given(weights, st.integers(0, 40), st.data())
def test_a_changed_group_starts_an_exact_cycle(
    group_weights: list[int], before: int, data: st.DataObject
) -> None:
    web = group(WeightedRoundRobin(), 1, *group_weights)
    picks(web, before)
    gone = chr(ord("a") + data.draw(st.integers(0, len(group_weights))))
    set_health(web, gone, False)
    total = sum(server.weight for server in web.usable_servers)
    counts = Counter(picks(web, total))
    assert gone not in counts
    for i, server in enumerate(web.real_servers):
        assert counts[chr(ord("a") + i)] == (server.weight if server.usable else 0)


def test_a_change_continues_after_the_last_chosen_among_equals() -> None:
    web = group(WeightedRoundRobin(), 1, 1, 1)
    assert picks(web, 2) == "ab"
    set_health(web, "a", False)
    assert picks(web, 2) == "cb"


def test_explain_shows_the_current_weights() -> None:
    web = group(WeightedRoundRobin(), 5, 1, 1)
    picks(web, 2)
    explanation = web.scheduler.explain(b"", web.usable_servers)
    assert explanation.facts["current_weights"] == {
        "10.0.2.11:80": 1,
        "10.0.2.12:80": 3,
        "10.0.2.13:80": 3,
    }
    assert str(explanation) == (
        "10.0.2.12:80: greatest current weight 3 (1 of the group's 7 connections are its share)"
    )
