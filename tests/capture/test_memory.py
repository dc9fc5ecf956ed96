"""The in-memory twin behaves like a capture."""

from __future__ import annotations

import select

import pytest

from lb_switch.capture.memory import MemoryCapture
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.packets import dissect, tcp

SYN = tcp(("10.0.1.2", 40000), ("10.0.1.100", 80), "S")
CLOSED = tcp(("10.0.1.2", 40000), ("10.0.1.100", 81), "S")
STRANGER = tcp(("10.0.1.2", 40000), ("10.0.9.9", 80), "S")


@pytest.fixture
def switch() -> Switch:
    made = Switch()
    real_servers = [RealServer(Endpoint.parse("10.0.2.11:8080"))]
    vip = Endpoint.parse("10.0.1.100:80")
    made.add_virtual_server(VirtualServer("web", vip, TCP, RoundRobin(), real_servers))
    return made


def test_what_goes_in_comes_out_by_its_verdict(switch: Switch) -> None:
    capture = MemoryCapture()
    for packet in (SYN, STRANGER, CLOSED, b"\x45"):
        capture.feed(packet)
    assert capture.handle_batch(switch, 1.0, 64) == 4
    forwarded, passed, reset = capture.sent
    assert dissect(forwarded).dst == "10.0.2.11"
    assert passed == STRANGER
    assert dissect(reset)["TCP"].flags == "RA"
    assert [v.action for v in capture.verdicts] == [
        Action.FORWARD,
        Action.PASS,
        Action.REPLY,
        Action.DROP,
    ]


def test_a_batch_is_bounded(switch: Switch) -> None:
    capture = MemoryCapture()
    for _ in range(5):
        capture.feed(SYN)
    assert [capture.handle_batch(switch, 1.0, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_the_descriptor_is_readable_exactly_while_packets_wait(switch: Switch) -> None:
    capture = MemoryCapture()
    capture.feed(SYN)
    capture.open()
    try:
        capture.feed(SYN)
        for waiting in (2, 1):
            assert select.select([capture], [], [], 0)[0], waiting
            capture.handle_batch(switch, 1.0, 1)
        assert not select.select([capture], [], [], 0)[0]
    finally:
        capture.close()
        capture.close()


def test_an_exception_in_the_engine_costs_its_packet_and_is_logged_once(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(buffer: bytearray, *_: object) -> None:
        raise RuntimeError(f"a bug at {id(buffer)}, {len(capture.verdicts)}")

    monkeypatch.setattr(switch, "handle_packet", broken)
    capture = MemoryCapture()
    capture.feed(SYN)
    capture.feed(SYN)
    assert capture.handle_batch(switch, 1.0, 64) == 2
    assert capture.sent == []
    assert switch.counters[Reason.INTERNAL_ERROR] == 2
    assert caplog.text.count("RuntimeError: a bug at") == 1
