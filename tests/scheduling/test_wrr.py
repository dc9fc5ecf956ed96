from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import gcd

from hypothesis import given
from hypothesis import strategies as st

from lb_switch.engine.scheduling.wrr import WeightedRoundRobin
from lb_switch.engine.servers import RealServer
from tests.scheduling.groups import group, picks, set_health
from tests.scheduling.said import said

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


@given(weights, st.lists(st.tuples(st.integers(0, 7), st.integers(1, 30), st.integers(0, 40))))
def test_changes_of_weights_keep_what_each_is_owed(
    group_weights: list[int], changes: list[tuple[int, int, int]]
) -> None:
    """Whoever changes them, and how often: nobody falls behind its share."""
    web = group(WeightedRoundRobin(), *group_weights)
    due = dict.fromkeys(web.real_servers, Fraction(0))
    counts = Counter[RealServer]()
    for place, weight, choices in changes:
        server = web.real_servers[place % len(web.real_servers)]
        server.weight = weight
        web.refresh()
        total = sum(each.weight for each in web.real_servers)
        for each in web.real_servers:
            due[each] += Fraction(choices * each.weight, total)
        for letter in picks(web, choices):
            counts[web.real_servers[ord(letter) - ord("a")]] += 1
    for each in web.real_servers:
        assert abs(counts[each] - due[each]) < max(2, len(web.real_servers))


@given(weights, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 40))))
def test_servers_that_come_and_go_take_nobody_its_turn(
    group_weights: list[int], changes: list[tuple[int, int]]
) -> None:
    web = group(WeightedRoundRobin(), 1, *group_weights)
    for place, choices in changes:
        name = chr(ord("a") + 1 + place % len(group_weights))
        server = web.real_servers[ord(name) - ord("a")]
        set_health(web, name, not server.healthy)
        counts = Counter(picks(web, choices))
        total = sum(each.weight for each in web.usable_servers)
        for each in web.real_servers:
            letter = chr(ord("a") + web.real_servers.index(each))
            due = Fraction(choices * each.weight * each.usable, total)
            assert abs(counts[letter] - due) < 2 * len(web.real_servers)


def test_a_small_weight_among_large_ones_is_served_while_weights_change() -> None:
    """One weight changed every 40 connections: the small one is due 1 in 151."""
    web = group(WeightedRoundRobin(), 100, 1, 50)
    counts = Counter[str]()
    for number in range(200):
        web.real_servers[0].weight = 100 + number % 2
        web.refresh()
        counts.update(picks(web, 40))
    assert 51 <= counts["b"] <= 55
    assert 2620 <= counts["c"] <= 2660


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
    assert said(explanation) == (
        "10.0.2.12:80: greatest current weight 3 (1 of the group's 7 connections are its share)"
    )
