"""A program on a host of the lab, with a line to it and one back."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import Any

from netns_lab import programs
from netns_lab.errors import LabError
from netns_lab.lab import Lab


class Program:
    """A module of this package, run on a host.  Its errors go to the lab's directory."""

    def __init__(self, lab: Lab, host: str, module: str, *arguments: str) -> None:
        self.host, self.module = host, module
        argv = programs.module(f"netns_lab.attack.{module}", *arguments)
        self._log = lab.directory / f"{host}-{module}.err"
        with self._log.open("ab") as errors:
            self._process: subprocess.Popen[Any] = lab.popen(
                host,
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        self._heard = b""

    def say(self, text: str, *, last: bool = False) -> None:
        """Write a line to its stdin; `last`: there will be no other."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(text.encode() + b"\n")
            if last:
                pipe.close()
        except BrokenPipeError:
            raise LabError(f"{self.host}: {self.module} ended: {self._last_words()}") from None

    def hear(self, seconds: float) -> str:
        """Wait for a line of its stdout.  Raises LabError if none comes."""
        pipe = self._process.stdout
        assert pipe is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise LabError(f"{self.host}: {self.module} said nothing for {seconds:g} s")
            more = os.read(pipe.fileno(), 65_536)
            if not more:
                raise LabError(f"{self.host}: {self.module} ended: {self._last_words()}")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
