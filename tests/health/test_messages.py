"""What is written is what is read."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.harmless import harmless
from lb_switch.health import messages
from lb_switch.health.check import Target
from lb_switch.health.messages import Found, Ready, Start, Stop
from lb_switch.health.tracker import ProbeResult

TARGETS = st.builds(
    Target,
    st.sampled_from(["icmp", "tcp", "http", "https"]),
    st.ip_addresses(),
    st.integers(1, 65535),
    st.floats(0.01, 1e6),
    st.floats(0.01, 1e6),
    st.text().map(lambda path: f"/{path}"),
    st.lists(st.integers(100, 599), min_size=1).map(tuple),
    st.text(),
    st.booleans(),
    st.text(),
)
RESULTS = st.builds(ProbeResult, st.sampled_from([True, False, None]), st.text(), st.floats(0, 1e6))


@given(st.integers(1), TARGETS)
def test_orders(number: int, target: Target) -> None:
    for line, order in (
        (messages.start(number, target), Start(number, target)),
        (messages.stop(number), Stop(number)),
    ):
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert messages.read_order(line) == order


@given(st.integers(1), RESULTS)
def test_answers(number: int, result: ProbeResult) -> None:
    line = messages.found(number, result)
    assert line.count(b"\n") == 1
    shown = result._replace(finding=harmless(result.finding))
    assert messages.read_answer(line) == Found(number, shown)
    assert messages.read_answer(messages.ready()) == Ready()


def test_the_documented_lines() -> None:
    target = Target("tcp", ipaddress.ip_address("10.0.2.11"), 80, 2.0, 1.0)
    assert messages.read_order(
        b'{"start": 7, "kind": "tcp", "ip": "10.0.2.11", "port": 80, "interval": 2.0,'
        b' "timeout": 1.0, "path": "/", "expect_status": [200], "host": "", "verify": true,'
        b' "ca_file": ""}\n'
    ) == Start(7, target)


@pytest.mark.parametrize("line", [b"", b"hello", b"[1]", b"{}", b'{"check":1,"passed":true}'])
def test_nonsense_is_an_error(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        messages.read_answer(line)
