"""What holds for every scheduler in the catalogue."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.engine.scheduling.catalogue import CATALOGUE, make
from lb_switch.engine.servers import AdminState
from tests.scheduling.groups import group, key, key6

actions = st.lists(
    st.one_of(
        st.tuples(st.just("choose"), st.integers(0, 1000)),
        st.tuples(st.just("choose6"), st.integers(0, 1000)),
        st.tuples(st.just("health"), st.integers(0, 4)),
        st.tuples(st.just("drain"), st.integers(0, 4)),
        st.tuples(st.just("weight"), st.integers(0, 4)),
        st.tuples(st.just("remove"), st.integers(0, 4)),
        st.tuples(st.just("close"), st.integers(0, 4)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("name", CATALOGUE)
@given(actions=actions)
@settings(max_examples=40, deadline=None)
def test_explain_agrees_and_no_unusable_server_is_chosen_however_the_group_changes(
    name: str, actions: list[tuple[str, int]]
) -> None:
    scheduler = make(name)
    web = group(scheduler, 1, 2, 3, 1, 7)
    servers = list(web.real_servers)
    for action, number in actions:
        server = servers[number % len(servers)]
        if action == "health":
            server.healthy = not server.healthy
        elif action == "drain":
            drained = server.admin_state is AdminState.DRAIN
            server.admin_state = AdminState.READY if drained else AdminState.DRAIN
        elif action == "weight":
            server.weight = (server.weight + 3) % 8
        elif action == "remove":
            if server in web.real_servers:
                web.remove(server)
            else:
                web.add(server)
        elif action == "close":
            server.active = max(0, server.active - 1)
        if not action.startswith("choose"):
            web.refresh()
            continue
        if not web.usable_servers:
            continue
        flow_key = key(number) if action == "choose" else key6(number)
        first = scheduler.explain(flow_key, web.usable_servers)
        second = scheduler.explain(flow_key, web.usable_servers)
        chosen = scheduler.choose(flow_key, web.usable_servers)
        assert chosen is first.server
        assert str(first) == str(second)
        assert "\n" not in str(first)
        assert chosen.usable
        assert chosen in web.real_servers
        chosen.active += 1


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_knows_its_name_and_serves_a_single_server(name: str) -> None:
    scheduler = make(name, hash_on=["src_ip", "src_port"], hash_key="secret")
    web = group(scheduler, 3)
    assert scheduler.name == name
    assert {scheduler.choose(key(i), web.usable_servers) for i in range(5)} == {*web.real_servers}


def test_the_names_are_those_of_the_configuration() -> None:
    assert list(CATALOGUE) == ["rr", "wrr", "lc", "wlc", "sh", "mh"]


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'rrr' is none of rr, wrr, lc, wlc, sh, mh"):
        make("rrr")


@pytest.mark.parametrize("name", ["sh", "mh"])
def test_hash_on_and_hash_key_reach_the_hashing_schedulers(name: str) -> None:
    with pytest.raises(ValueError, match="'mac' is none of"):
        make(name, hash_on=["mac"])
    web = group(make(name, hash_on=["src_port"]), 1, 1, 1)
    choices = {web.scheduler.choose(key(i, 7), web.usable_servers) for i in range(50)}
    assert len(choices) == 1
