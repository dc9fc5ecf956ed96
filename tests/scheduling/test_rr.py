from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer
from tests.scheduling.groups import group, picks, set_health
from tests.scheduling.said import said


@given(st.integers(1, 12), st.integers(1, 40))
def test_servers_take_turns_in_configured_order(servers: int, count: int) -> None:
    letters = "abcdefghijkl"[:servers]
    assert picks(group(RoundRobin(), *[1] * servers), count) == (letters * count)[:count]


def test_weights_do_not_matter() -> None:
    assert picks(group(RoundRobin(), 5, 1, 3), 6) == "abcabc"


def test_it_continues_after_the_last_chosen_when_that_one_goes_down() -> None:
    web = group(RoundRobin(), 1, 1, 1)
    assert picks(web, 2) == "ab"
    set_health(web, "b", False)
    assert picks(web, 3) == "cac"


def test_it_continues_after_the_last_chosen_when_another_comes_back() -> None:
    web = group(RoundRobin(), 1, 1, 1)
    set_health(web, "c", False)
    assert picks(web, 2) == "ab"
    set_health(web, "c", True)
    assert picks(web, 3) == "cab"


def test_it_continues_in_configured_order_when_one_leaves_as_another_comes() -> None:
    web = group(RoundRobin(), 1, 1, 1)
    set_health(web, "c", False)
    assert picks(web, 2) == "ab"
    set_health(web, "b", False)
    set_health(web, "c", True)
    assert picks(web, 2) == "ca"


def test_it_continues_after_a_server_that_was_removed_altogether() -> None:
    web = group(RoundRobin(), 1, 1, 1)
    a, b, c = web.real_servers
    assert picks(web, 2) == "ab"
    web.remove(b)
    assert web.scheduler.choose(b"", web.usable_servers) is c
    assert web.scheduler.choose(b"", web.usable_servers) is a


def test_a_new_server_gets_its_turn_at_its_place() -> None:
    web = group(RoundRobin(), 1, 1)
    assert picks(web, 2) == "ab"
    web.add(RealServer(Endpoint.parse("10.0.2.99:80")))
    assert picks(web, 3) == "cab"


def test_it_starts_over_when_the_whole_group_is_another() -> None:
    scheduler = RoundRobin()
    old, new = group(scheduler, 1, 1), group(scheduler, 1, 1)
    assert picks(old, 1) == "a"
    assert picks(new, 2) == "ab"


def test_explain_names_the_turn() -> None:
    web = group(RoundRobin(), 1, 1, 1)
    explain = web.scheduler.explain
    assert (
        said(explain(b"", web.usable_servers)) == "10.0.2.11:80: first in rotation (1 of 3 usable)"
    )
    picks(web, 1)
    assert (
        said(explain(b"", web.usable_servers))
        == "10.0.2.12:80: next after 10.0.2.11:80 (2 of 3 usable)"
    )
