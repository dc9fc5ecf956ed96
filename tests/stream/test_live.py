"""A live switch that explains itself: slow, dead and missing readers hold up no packet."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from lb_switch.engine.events import Event
from lb_switch.engine.listeners import Interest
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action
from lb_switch.stream.encode import Encoder
from lb_switch.stream.hub import Hub
from lb_switch.stream.live import Broadcast, Live
from lb_switch.stream.pipe_outlet import PipeOutlet
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import DroppedRecord, EndRecord, PacketRecord
from tests.support.dialogue import CLIENT, VIP, Dialogue, make_switch, send
from tests.support.packets import tcp
from tests.support.pipes import drain


def established(switch: Switch) -> bytes:
    """Open a connection; return a packet of it that changes no state."""
    Dialogue(switch).handshake()
    return tcp(CLIENT, VIP, "A", b"x" * 100, seq=1001, ack=5001)


def test_a_full_pipe_that_nobody_reads_stops_no_packet() -> None:
    switch = make_switch()
    packet = established(switch)
    readable, writable = os.pipe()
    outlet = PipeOutlet(writable, "x", backlog=100_000)
    broadcast = Broadcast(Hub(switch), [outlet], 0.0)
    handled = 0
    while outlet.dropped < 1000:
        assert send(switch, packet).action is Action.FORWARD
        handled += 1
    broadcast.finish(1.0, patience=0.0)
    with open(readable, "rb") as file:
        told = sum(b'"event":"packet"' in line and line.endswith(b"\n") for line in file)
    assert handled == outlet.dropped + told


def test_what_was_dropped_is_told_where_it_is_missing() -> None:
    switch = make_switch()
    packet = established(switch)
    readable, writable = os.pipe()
    outlet = PipeOutlet(writable, "x", backlog=0)
    broadcast = Broadcast(Hub(switch), [outlet], 0.0)
    while not outlet.dropped:
        send(switch, packet)
    os.set_blocking(readable, False)
    lines = drain(readable)
    send(switch, packet)
    broadcast.finish(2.0, 1.0)
    lines += drain(readable)
    os.close(readable)
    records = list(Recording(lines.splitlines(keepends=True), "x"))
    missing = [each.count for each in records if isinstance(each, DroppedRecord)]
    packets = [each for each in records if isinstance(each, PacketRecord)]
    end = records[-1]
    assert isinstance(end, EndRecord)
    assert sum(missing) == end.dropped == outlet.dropped
    assert len(packets) + end.dropped == end.packets
    assert packets[-1].number == end.packets, "the last one was told again"


def test_a_dead_reader_is_detached(caplog: pytest.LogCaptureFixture) -> None:
    switch = make_switch()
    packet = established(switch)
    readable, writable = os.pipe()
    broadcast = Broadcast(Hub(switch), [PipeOutlet(writable, "x")], 0.0)
    assert len(switch.listeners) == 1
    os.close(readable)
    assert send(switch, packet).action is Action.FORWARD
    assert not switch.listeners, "with no listener the engine builds no events"
    assert "nobody reads any more" in caplog.text
    broadcast.finish(1.0, 1.0)


def test_one_dead_reader_of_two(caplog: pytest.LogCaptureFixture) -> None:
    switch = make_switch()
    packet = established(switch)
    pipes = [os.pipe(), os.pipe()]
    outlets = [PipeOutlet(writable, "x") for _, writable in pipes]
    broadcast = Broadcast(Hub(switch), outlets, 0.0)
    os.close(pipes[0][0])
    send(switch, packet)
    send(switch, packet)
    assert [outlet.dead for outlet in outlets] == [True, False]
    broadcast.finish(1.0, 1.0)
    with open(pipes[1][0], "rb") as file:
        records = list(Recording(file, "x"))
    assert [each.number for each in records if isinstance(each, PacketRecord)] == [1, 2]
    assert not caplog.records


def test_a_mistake_in_telling_costs_the_event_and_not_the_packet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    switch = make_switch()
    packet = established(switch)
    readable, writable = os.pipe()
    outlet = PipeOutlet(writable, "x")
    broadcast = Broadcast(Hub(switch), [outlet], 0.0)

    def fail(_self: Encoder, _event: Event) -> bytes:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Encoder, "encode", fail)
    with caplog.at_level(logging.ERROR):
        assert send(switch, packet).action is Action.FORWARD
    assert outlet.dropped == 1
    broadcast.finish(1.0, 1.0)
    os.close(readable)


def test_a_recording_by_a_process_of_its_own(tmp_path: Path) -> None:
    switch = make_switch()
    target = tmp_path / "rec.jsonl"
    live = Live(Hub(switch, lambda: {"10.0.1.11": "c1"}), 5.0, view=None, record=target)
    packet = established(switch)
    for _ in range(500):
        send(switch, packet, 6.0)
    assert live.close(7.0) == []
    assert not switch.listeners
    with target.open("rb") as file:
        recording = Recording(file, "rec.jsonl")
        records = list(recording)
    assert recording.header.hosts == {"10.0.1.11": "c1"}
    assert records[-1] == EndRecord(event="end", time=7.0, packets=503, dropped=0)


def test_a_recording_that_cannot_be_written(tmp_path: Path) -> None:
    switch = make_switch()
    with pytest.raises(FileNotFoundError):
        Live(Hub(switch), 0.0, view=None, record=tmp_path / "no" / "rec.jsonl")
    assert not switch.listeners


def test_a_fifo_that_nobody_opens(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    switch = make_switch()
    live = Live(Hub(switch), 0.0, view=None, record=fifo, patience=0.2)
    assert send(switch, established(switch)).action is Action.FORWARD
    assert live.close(1.0) == [f"{fifo}: not complete: its reader did not take everything"]
    assert not switch.listeners


def test_a_full_disk_ends_the_recording_alone(tmp_path: Path) -> None:
    switch = make_switch()
    live = Live(Hub(switch), 0.0, view=None, record=Path("/dev/full"))
    packet = established(switch)
    while switch.listeners:  # until the writer has given up
        assert send(switch, packet).action is Action.FORWARD
    (line,) = live.close(1.0)
    assert line.startswith("/dev/full: ")
    assert "events were dropped" in line


def test_listeners_beside_each_other() -> None:
    switch = make_switch()
    heard: list[str] = []

    def one(_event: Event) -> None:
        heard.append("one")

    def two(_event: Event) -> None:
        heard.append("two")

    for listener in (one, two):
        switch.listen(listener)
    packet = established(switch)
    heard.clear()
    send(switch, packet)
    assert heard == ["one", "two"]
    switch.listen(one, Interest(packets=False))
    send(switch, packet)
    assert heard == ["one", "two", "two"], "one changed what it wants"
    switch.stop_listening(one)
    assert len(switch.listeners) == 1
    switch.stop_listening(two)
    switch.stop_listening(two)
    assert not switch.listeners
