"""A pool of source ports against a list."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lb_switch.engine.nat.port_pool import FIRST_PORT, LAST_PORT, PortPool

ENDS = bytes(10)


@given(st.integers(1, 700), st.binary(max_size=8))
@settings(max_examples=60, deadline=None)
def test_each_port_is_given_out_once(size: int, secret: bytes) -> None:
    pool = PortPool(4000, 4000 + size - 1, secret=secret)
    ports = [pool.allocate() for _ in range(size)]
    assert sorted(port for port in ports if port is not None) == list(range(4000, 4000 + size))
    assert pool.allocate() is None
    assert pool.in_use == size


def test_all_of_them() -> None:
    pool = PortPool(secret=b"s")
    ports = {pool.allocate() for _ in range(LAST_PORT - FIRST_PORT + 1)}
    assert ports == set(range(FIRST_PORT, LAST_PORT + 1))
    assert pool.allocate() is None


@pytest.mark.parametrize(
    "other", [{"secret": b"t"}, {"ends": bytes(9) + b"\1"}, {"protocol": 17}, {"secret": b""}]
)
def test_what_the_order_depends_on(other: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"secret": b"s", "ends": ENDS, "protocol": 6}

    def order(**how: Any) -> list[int | None]:
        pool = PortPool(**how)
        return [pool.allocate() for _ in range(200)]

    assert order(**usual) == order(**usual)
    assert sum(a == b for a, b in zip(order(**usual), order(**usual | other), strict=True)) < 5


def test_a_pool_takes_memory_for_what_was_used() -> None:
    """There may be one for each of very many real servers."""
    pool = PortPool()
    assert sys.getsizeof(pool._rounds) + sys.getsizeof(pool._ring) < 1500
    for _ in range(1000):
        pool.allocate()
    assert sys.getsizeof(pool._ring) < 4000


def test_every_port_has_its_turn() -> None:
    pool = PortPool(2000, 2009, ends=ENDS)
    keys = [pool.next_in_turn() for _ in range(20)]
    assert {key[:-2] for key in keys} == {ENDS}
    assert {int.from_bytes(key[-2:], "big") for key in keys[:10]} == set(range(2000, 2010))
    assert keys[10:] == keys[:10]


class AgainstAList(RuleBasedStateMachine):
    """The model is who has a port, and in which order the others came back."""

    @initialize(size=st.integers(1, 9), secret=st.binary(max_size=4))
    def begin(self, size: int, secret: bytes) -> None:
        self.size = size
        self.pool = PortPool(5000, 5000 + size - 1, secret=secret)
        self.out: list[int] = []
        self.back: deque[int] = deque()
        self.fresh = size

    @rule()
    def allocate(self) -> None:
        port = self.pool.allocate()
        if self.fresh:
            self.fresh -= 1
            assert port is not None
            assert 5000 <= port < 5000 + self.size
            assert port not in {*self.out, *self.back}
        elif self.back:
            assert port == self.back.popleft()
        else:
            assert port is None
        if port is not None:
            self.out.append(port)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.out:
            port = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            self.pool.release(port)
            self.back.append(port)

    @invariant()
    def the_same(self) -> None:
        if hasattr(self, "pool"):
            assert self.pool.in_use == len(self.out)
            assert self.pool.given_back == list(self.back)


TestPool = AgainstAList.TestCase
