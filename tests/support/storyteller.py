"""Programs that build a lab, tell its story and remove it: interrupted, deserted, on a terminal.

However such a program ends, its lab must be gone.
"""

from __future__ import annotations

import contextlib
import os
import pty
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence

from netns_lab import lab as labs
from tests.support.traces import NO_TRACE, traces

PATIENCE = 30.0
"""Seconds for a program to clean up."""


class Storyteller:
    """A program to be started; `prefix` is its lab's own, so that what it leaves can be told.

    argv: the program without the option `--prefix`.  name: how it calls itself in a complaint.
    """

    def __init__(self, name: str, argv: Sequence[str]) -> None:
        self.name = name
        self.prefix = f"lbt{secrets.token_hex(3)}-"
        self.argv = [*argv, "--prefix", self.prefix]

    def listen(self, seconds: float) -> str:
        """Let it tell the whole story into a file: without a complaint, and without a trace."""
        told = subprocess.run(
            self.argv, capture_output=True, text=True, check=False, timeout=seconds
        )
        assert (told.returncode, told.stderr) == (0, ""), told.stdout
        self.expect_no_trace()
        return told.stdout

    def interrupt(self, moment: str, number: signal.Signals) -> None:
        """Send a signal, and impatiently once more, when a line contains `moment`.

        The program must say so in one line, and end as its signal demands.
        """
        process = subprocess.Popen(
            self.argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert any(moment in line for line in process.stdout), f"it never said {moment!r}"
        os.killpg(process.pid, number)  # as a terminal does: to the whole group
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=PATIENCE)
        complaint = f"{self.name}: interrupted, cleaning up"
        assert (process.returncode, errors.strip()) == (128 + number, complaint)
        self.expect_no_trace()

    def desert(self) -> None:
        """Close its standard output after a line: it must end quietly, with code 1."""
        process = subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert (process.wait(PATIENCE), errors) == (1, "")
        self.expect_no_trace()

    def on_a_terminal(self, moment: str, **environment: str) -> str:
        """Return what a terminal gets of it until it has said `moment`; then hang up."""
        clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        master, slave = pty.openpty()
        process = subprocess.Popen(
            self.argv, stdout=slave, stderr=slave, env=clean | {"TERM": "xterm"} | environment
        )
        os.close(slave)
        told = b""
        while moment.encode() not in told:
            told += os.read(master, 4096)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 128 + signal.SIGHUP
        os.close(master)
        self.expect_no_trace()
        return told.decode()

    def expect_no_trace(self) -> None:
        """Fail if anything is left of its lab."""
        assert traces(self.prefix) == NO_TRACE


@contextlib.contextmanager
def storyteller(name: str, argv: Sequence[str]) -> Iterator[Storyteller]:
    """Yield a program to be started; its lab is removed if the program does not do so."""
    mine = Storyteller(name, argv)
    try:
        yield mine
    finally:
        labs.down(mine.prefix)
