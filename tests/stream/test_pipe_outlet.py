"""The pipe out of the datapath: never waited for; what is lost is counted and told."""

from __future__ import annotations

import json
import os
import threading

import pytest

from lb_switch.stream.pipe_outlet import PipeOutlet
from tests.support.pipes import drain

LINE = b'{"event":"filler","text":"' + b"x" * 1000 + b'"}\n'


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def fill(outlet: PipeOutlet) -> int:
    """Put lines until they are dropped; return how many were taken."""
    taken = 0
    while not outlet.dropped:
        outlet.put(LINE)
        taken += 1
    return taken - 1


def test_lines_come_out_as_they_went_in(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=0)
    outlet.put(b"one\n")
    outlet.put(b"two\n")
    outlet.close()
    assert drain(pipe[0]) == b"one\ntwo\n"
    assert outlet.dropped == 0


def test_a_full_pipe_drops_counts_and_tells(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=0)
    taken = fill(outlet)
    for _ in range(99):
        outlet.put(LINE)
    assert outlet.dropped == 100
    seen = drain(pipe[0])
    outlet.put(b'{"event":"again"}\n')
    assert outlet.finish(b'{"event":"end"}\n', 1.0)
    outlet.close()
    lines = (seen + drain(pipe[0])).splitlines(keepends=True)
    assert lines[:taken] == [LINE] * taken
    assert [json.loads(line) for line in lines[taken:]] == [
        {"event": "dropped", "count": 100},
        {"event": "again"},
        {"event": "end"},
    ]


def test_a_line_that_fits_in_part_is_finished_first(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=0)
    long = b"y" * 300_001 + b"\n"
    put = 0
    while not outlet.dropped:
        outlet.put(long)
        put += 1
    data = drain(pipe[0])
    assert not data.endswith(b"\n"), "the pipe's end tore a line"
    outlet.put(b"next\n")
    assert outlet.finish(b"last\n", 1.0)
    lines = (data + drain(pipe[0])).splitlines(keepends=True)
    assert lines[: put - 1] == [long] * (put - 1)
    assert [json.loads(line) for line in lines[put - 1 : -2]] == [{"event": "dropped", "count": 1}]
    assert lines[-2:] == [b"next\n", b"last\n"]


def test_a_burst_waits_for_room(pipe: tuple[int, int]) -> None:
    """Up to the backlog; then it is passed on bit by bit, with what comes, or with time."""
    outlet = PipeOutlet(pipe[1], "x", backlog=20 << 20)
    taken = fill(outlet)
    assert taken * len(LINE) > 20 << 20
    data = drain(pipe[0])
    while outlet.flush():
        data += drain(pipe[0])
    outlet.put(b"next\n")
    outlet.close()
    lines = (data + drain(pipe[0])).splitlines(keepends=True)
    assert lines[:taken] == [LINE] * taken
    assert [json.loads(line) for line in lines[taken:-1]] == [{"event": "dropped", "count": 1}]
    assert lines[-1] == b"next\n"


def test_one_event_pays_for_a_part_of_what_waits_only(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=4 << 20)
    fill(outlet)
    drain(pipe[0])
    written: list[int] = []
    write = os.write

    def note(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", note)
    outlet.put(LINE)
    assert len(LINE) < sum(written) < 600_000


def test_what_waits_at_the_end_is_counted(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=100_000)
    taken = fill(outlet)
    outlet.close()
    lines = drain(pipe[0]).splitlines(keepends=True)
    whole = [line for line in lines if line == LINE]
    assert len(whole) + outlet.dropped == taken + 1


def test_a_dead_reader_costs_nothing_more(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=0)
    os.close(pipe[0])
    outlet.put(LINE)
    assert outlet.dead
    outlet.put(LINE)
    assert outlet.dropped == 2
    assert not outlet.finish(b"end\n", 1.0)
    outlet.close()


def test_the_end_waits_for_a_slow_reader_but_not_for_ever(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x", backlog=0)
    fill(outlet)
    long = b"z" * 5000 + b"\n"
    assert not outlet.finish(long, 0.05)
    assert outlet.dropped == 1, "the rest waits on"
    collected: list[bytes] = []
    reader = threading.Thread(target=lambda: collected.append(_read_all(pipe[0])))
    reader.start()
    assert outlet.finish(b"end\n", 5.0)
    outlet.close()
    reader.join(10)
    assert collected[0].endswith(b"end\n")


def _read_all(descriptor: int) -> bytes:
    data = b""
    while piece := os.read(descriptor, 1 << 16):
        data += piece
    return data
