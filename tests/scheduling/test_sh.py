from __future__ import annotations

from collections import Counter

import pytest

from lb_switch.engine.scheduling.sh import SourceHash
from tests.scheduling.groups import group, key, key6, picks, set_health
from tests.scheduling.said import said


def test_a_client_stays_with_its_server_whatever_its_port() -> None:
    web = group(SourceHash(), 1, 1, 1)
    for client in range(50):
        servers = {web.scheduler.choose(key(client, port), web.usable_servers) for port in (1, 2)}
        servers |= {web.scheduler.choose(key(client, 3), web.usable_servers)}
        assert len(servers) == 1


def test_hashing_the_port_spreads_one_client() -> None:
    web = group(SourceHash(hash_on=("src_ip", "src_port")), 1, 1, 1)
    chosen = {web.scheduler.choose(key(1, port), web.usable_servers) for port in range(50)}
    assert chosen == set(web.real_servers)


def test_weights_are_respected() -> None:
    web = group(SourceHash(), 1, 2, 5)
    counts = Counter(picks(web, 8000))
    for letter, expected in (("a", 1000), ("b", 2000), ("c", 5000)):
        # Four standard deviations of a binomial distribution at most.
        assert counts[letter] == pytest.approx(expected, abs=180)


def test_ipv6_clients_spread_too() -> None:
    web = group(SourceHash(), 1, 1, 1)
    chosen = {web.scheduler.choose(key6(client), web.usable_servers) for client in range(50)}
    assert chosen == set(web.real_servers)


def test_a_change_of_weight_counts_at_once() -> None:
    web = group(SourceHash(), 1, 1)
    assert set(picks(web, 50)) == {"a", "b"}
    web.real_servers[0].weight = 0
    web.refresh()
    assert set(picks(web, 50)) == {"b"}


def test_the_same_clients_return_to_a_server_that_comes_back() -> None:
    web = group(SourceHash(), 1, 1, 1)
    before = picks(web, 100)
    set_health(web, "b", False)
    assert "b" not in picks(web, 100)
    set_health(web, "b", True)
    assert picks(web, 100) == before


def test_explain_shows_hash_slot_and_server() -> None:
    web = group(SourceHash(), 1, 2)
    explanation = web.scheduler.explain(key(3), web.usable_servers)
    hashed = int(str(explanation.facts["hash"]), 16)
    assert explanation.facts["slot"] == hashed % 3
    assert explanation.server is web.real_servers[0 if hashed % 3 == 0 else 1]
    assert said(explanation) == (
        f"{explanation.server.endpoint}: hash of src_ip {hashed:016x} -> slot {hashed % 3} of 3"
    )
