"""A line that nobody can take is left out; it never waits."""

from __future__ import annotations

import io
import os
import sys

import pytest

from lb_switch.daemon import announce


def test_lines_go_to_stdout_and_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    announce.say("web 10.0.2.11:80 is down: connect refused")
    announce.complain("oh")
    assert capfd.readouterr() == (
        "lb-switch: web 10.0.2.11:80 is down: connect refused\n",
        "lb-switch: oh\n",
    )


def test_a_stream_without_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    announce.say("hello")
    assert stream.getvalue() == "lb-switch: hello\n"


def test_a_pipe_that_nobody_empties(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with open(writer, "w", encoding="ascii") as stream, open(reader, encoding="ascii") as other:
        monkeypatch.setattr(sys, "stdout", stream)
        for number in range(10_000):
            announce.say(f"line {number}")
        stream.close()
        lines = other.read().splitlines()
    assert lines == [f"lb-switch: line {number}" for number in range(len(lines))]
    assert 100 < len(lines) < 10_000


def test_a_pipe_without_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="ascii") as stream:  # what it kept would fail at its end
        monkeypatch.setattr(sys, "stdout", stream)
        announce.say("hello")
        announce.say("hello")
