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
    outlet = PipeOutlet(pipe[1], "x")
    outlet.put(b"one\n")
    outlet.put(b"two\n")
    outlet.close()
    assert drain(pipe[0]) == b"one\ntwo\n"
    assert outlet.dropped == 0


def test_a_full_pipe_drops_counts_and_tells(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x")
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
    outlet = PipeOutlet(pipe[1], "x")
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


def test_a_dead_reader_costs_nothing_more(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x")
    os.close(pipe[0])
    outlet.put(LINE)
    assert outlet.dead
    outlet.put(LINE)
    assert outlet.dropped == 2
    assert not outlet.finish(b"end\n", 1.0)
    outlet.close()


def test_the_end_waits_for_a_slow_reader_but_not_for_ever(pipe: tuple[int, int]) -> None:
    outlet = PipeOutlet(pipe[1], "x")
    fill(outlet)
    long = b"z" * 5000 + b"\n"
    assert not outlet.finish(long, 0.05)
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
