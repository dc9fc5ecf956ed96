"""Programs that are followed: their whole lines, their end, and an end that nobody asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.scenarios.following import Follower


class Here:
    """Stands in for a lab: its programs run on this machine."""

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        assert host == "c1"
        return subprocess.Popen(argv, **options)


class Notes(Follower):
    """Notes the lines of a Python program."""

    def __init__(self, program: str) -> None:
        super().__init__(cast(Lab, Here()), "c1", [sys.executable, "-c", program])
        self.lines: list[str] = []
        self.two = threading.Event()

    def note_line(self, line: str, /) -> None:
        self.lines.append(line)
        if len(self.lines) == 2:
            self.two.set()

    def outlive(self) -> None:
        """Wait until the program has ended by itself."""
        with self:
            assert self._process is not None
            self._process.wait(10.0)


TALK = "import time; print('one\\ntwo\\nthr', end='', flush=True); time.sleep(60)"


def test_whole_lines_are_taken_and_the_program_ends_with_the_block() -> None:
    began = time.monotonic()
    with Notes(TALK) as notes:
        assert notes.two.wait(10.0)
    ended = time.monotonic()
    assert notes.lines == ["one\n", "two\n"]  # "thr" was cut short
    assert ended - began < 30


def test_a_program_that_ends_by_itself_is_an_error() -> None:
    notes = Notes("print('last words'); raise SystemExit(7)")
    with pytest.raises(LabError, match=r"^c1: .*raise SystemExit.*: ended by itself, code 7$"):
        notes.outlive()
    assert notes.lines == ["last words\n"]
