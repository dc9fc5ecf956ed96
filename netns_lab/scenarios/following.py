"""Programs of a lab that go on talking while the story does: their lines, each as it comes."""

from __future__ import annotations

import shlex
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from netns_lab.errors import LabError
from netns_lab.lab import Lab

PATIENCE = 15.0
"""Seconds for a program to end after SIGTERM."""


class Follower(ABC):
    """A program on a host of the lab, and what it says, while the block runs.

    Raises LabError at the block's end if the program has ended by itself, or does not end now.
    """

    def __init__(self, lab: Lab, host: str, argv: Sequence[str]) -> None:
        self._lab = lab
        self._host = host
        self._argv = argv
        self._process: subprocess.Popen[Any] | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._process = self._lab.popen(
            self._host, self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        code = self._process.poll()
        self._process.terminate()
        if error is not None:
            return  # the lab's end is near, and takes care of it
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self._host}: {shlex.join(self._argv)}: does not end") from None
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if code is not None:
            raise LabError(f"{self._host}: {shlex.join(self._argv)}: ended by itself, code {code}")

    @abstractmethod
    def note_line(self, line: str, /) -> None:
        """Take note of a whole line.  Called in a thread of its own."""

    def _follow(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last one may be cut short by its writer's end
                self.note_line(line)
