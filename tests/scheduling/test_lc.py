"""`lc` and `wlc`."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lb_switch.engine.scheduling.lc import LeastConnections
from lb_switch.engine.scheduling.wlc import WeightedLeastConnections
from tests.scheduling.groups import group, picks
from tests.scheduling.said import said

loads = st.lists(
    st.tuples(st.integers(0, 5) | st.integers(0, 10**9), st.integers(1, 65535)),
    min_size=1,
    max_size=8,
)


@given(loads, st.integers(0, 8))
def test_lc_never_picks_one_with_more_connections_than_another(
    load: list[tuple[int, int]], before: int
) -> None:
    web = group(LeastConnections(), *[weight for _, weight in load])
    picks(web, before)
    for server, (active, _) in zip(web.real_servers, load, strict=True):
        server.active = active
    for _ in range(3):
        chosen = web.scheduler.choose(b"", web.usable_servers)
        assert chosen.active == min(server.active for server in web.usable_servers)


@given(loads, st.integers(0, 8))
def test_wlc_never_picks_one_with_more_connections_per_weight(
    load: list[tuple[int, int]], before: int
) -> None:
    web = group(WeightedLeastConnections(), *[weight for _, weight in load])
    picks(web, before)
    for server, (active, _) in zip(web.real_servers, load, strict=True):
        server.active = active
    for _ in range(3):
        chosen = web.scheduler.choose(b"", web.usable_servers)
        assert Fraction(chosen.active, chosen.weight) == min(
            Fraction(server.active, server.weight) for server in web.usable_servers
        )


def test_wlc_tells_counts_apart_that_a_float_cannot() -> None:
    web = group(WeightedLeastConnections(), 3, 3)
    web.real_servers[0].active = 2**60 + 1
    web.real_servers[1].active = 2**60
    assert picks(web, 3) == "bbb"


@given(st.sampled_from([LeastConnections, WeightedLeastConnections]), st.integers(1, 9))
def test_equals_take_turns(
    scheduler: type[LeastConnections | WeightedLeastConnections], servers: int
) -> None:
    web = group(scheduler(), *[2] * servers)
    assert picks(web, 2 * servers) == "abcdefghi"[:servers] * 2


def test_equals_take_turns_around_a_busier_one() -> None:
    for scheduler in (LeastConnections(), WeightedLeastConnections()):
        web = group(scheduler, 1, 1, 1)
        web.real_servers[1].active = 1
        assert picks(web, 4) == "acac"


def test_wlc_fills_up_by_weight() -> None:
    web = group(WeightedLeastConnections(), 1, 2, 4)
    counts: Counter[int] = Counter()
    for _ in range(70):
        server = web.scheduler.choose(b"", web.usable_servers)
        server.active += 1
        counts[server.weight] += 1
    assert counts == {1: 10, 2: 20, 4: 40}


def test_explain_shows_what_is_compared() -> None:
    web = group(LeastConnections(), 1, 1, 1)
    web.real_servers[0].active = 4
    explanation = web.scheduler.explain(b"", web.usable_servers)
    assert (
        said(explanation) == "10.0.2.12:80: fewest active connections: 0, its turn among 2 equals"
    )
    assert explanation.facts["active"] == {
        "10.0.2.11:80": 4,
        "10.0.2.12:80": 0,
        "10.0.2.13:80": 0,
    }
    web = group(WeightedLeastConnections(), 1, 4)
    web.real_servers[0].active = 1
    web.real_servers[1].active = 3
    assert said(web.scheduler.explain(b"", web.usable_servers)) == (
        "10.0.2.12:80: fewest active connections per weight: 3 at weight 4"
    )
