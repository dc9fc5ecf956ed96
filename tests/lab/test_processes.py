"""Only the process that was recorded is ever ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netns_lab.processes import ProcessRecord, end_recorded, start_time

Start = Callable[[str], ProcessRecord]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program that prints a line when it is ready, then waits."""
    started: list[subprocess.Popen[bytes]] = []

    def start(preparation: str = "") -> ProcessRecord:
        program = f"import signal\n{preparation}\nprint(flush=True)\nsignal.pause()"
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        began = start_time(process.pid)
        assert began is not None
        return ProcessRecord(process.pid, began, "here", "python")

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ending_signal(record: ProcessRecord) -> int:
    """What ended a child of ours; fails if it still runs."""
    _, status = os.waitpid(record.pid, os.WNOHANG)
    assert os.WIFSIGNALED(status)
    return os.WTERMSIG(status)


def test_start_time_is_what_the_kernel_says_since_boot() -> None:
    ticks = start_time(os.getpid())
    assert ticks is not None
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 <= uptime - ticks / os.sysconf("SC_CLK_TCK") < 24 * 3600


def test_a_program_name_with_spaces_and_parentheses_is_read_over(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as process:
        try:
            deadline = time.monotonic() + 5
            while b"a) S 1 (b" not in Path(f"/proc/{process.pid}/comm").read_bytes():
                assert time.monotonic() < deadline
            mine = start_time(os.getpid())
            its = start_time(process.pid)
            assert mine is not None
            assert its is not None
            assert its >= mine
        finally:
            process.kill()


def test_nobody_has_no_start_time() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert start_time(process.pid) is None


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) is None


def test_a_recorded_process_is_asked_to_end(start: Start) -> None:
    record = start("")
    assert record.alive
    end_recorded([record])
    assert not record.alive
    assert ending_signal(record) == signal.SIGTERM


def test_one_that_does_not_listen_is_killed(start: Start) -> None:
    record = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    end_recorded([record], grace=0.1)
    assert ending_signal(record) == signal.SIGKILL


def test_a_pid_that_belongs_to_somebody_else_is_left_alone(start: Start) -> None:
    record = start("")
    end_recorded([replace(record, start_time=record.start_time - 1)], grace=0.1)
    assert record.alive
    assert os.waitpid(record.pid, os.WNOHANG) == (0, 0)


def test_several_end_together_and_the_dead_are_no_error(start: Start) -> None:
    records = [start(""), start("")]
    end_recorded(records)
    end_recorded(records)
    assert [ending_signal(record) for record in records] == [signal.SIGTERM] * 2
