"""Traffic: its two loops, its lines, and how outcomes are counted."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from netns_lab.request import (
    Request,
    answered_by,
    ended_within,
    failures,
    from_line,
    mean_seconds,
    started_within,
    to_line,
)
from netns_lab.traffic import closed_loop, open_loop
from tests.lab.test_server_and_client import running

GOOD = Request(1.0, 1.5, "s1", None)
BAD = Request(2.0, 4.0, None, "ConnectionRefusedError: refused")


def test_lines_are_read_as_they_were_written() -> None:
    for request in (GOOD, BAD):
        assert "\n" not in to_line(request)
        assert from_line(to_line(request) + "\n") == request


def test_counting() -> None:
    requests = [GOOD, BAD, GOOD._replace(server="s2"), GOOD]
    assert answered_by(requests) == {"s1": 2, "s2": 1}
    assert failures(requests) == [BAD]
    assert mean_seconds(requests) == 0.5
    assert mean_seconds([BAD]) == 0.0


def test_a_span_of_time_holds_its_beginning_and_not_its_end() -> None:
    assert started_within([GOOD, BAD], 1.0, 2.0) == [GOOD]
    assert ended_within([GOOD, BAD], 1.5, 4.0) == [GOOD]


class Users:
    """Counts who asks, and tells the loop to stop after so many requests."""

    def __init__(self, enough: int) -> None:
        self.stopping = threading.Event()
        self.asked = 0
        self.together = 0
        self.most_together = 0
        self._enough = enough
        self._lock = threading.Lock()

    def ask(self) -> None:
        with self._lock:
            self.asked += 1
            self.together += 1
            self.most_together = max(self.most_together, self.together)
            if self.asked >= self._enough:
                self.stopping.set()
        time.sleep(0.005)
        with self._lock:
            self.together -= 1


def test_a_closed_loop_has_as_many_requests_under_way_as_users() -> None:
    users = Users(40)
    closed_loop(users.ask, 4, users.stopping)
    assert users.most_together == 4
    assert 40 <= users.asked < 44
    assert users.together == 0


def test_an_open_loop_begins_its_requests_at_its_own_pace() -> None:
    users = Users(30)
    started = time.monotonic()
    open_loop(users.ask, 100.0, users.stopping)
    assert time.monotonic() - started >= 0.28
    assert users.asked >= 30
    assert users.together == 0


@pytest.mark.parametrize("how", [("--rate", "50"), ("--users", "3")])
def test_the_program_answers_for_each_request_and_finishes_what_it_began(
    how: tuple[str, str], tmp_path: Path
) -> None:
    with running(tmp_path) as server:
        argv = [sys.executable, "-m", "netns_lab.traffic", server.http, *how]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = [from_line(process.stdout.readline()) for _ in range(10)]
        process.send_signal(signal.SIGTERM)
        rest = [from_line(line) for line in process.stdout]
        assert process.wait(10) == 0
        process.stdout.close()
    assert answered_by(first + rest) == {"s1": len(first) + len(rest)}
    assert failures(first + rest) == []
    assert all(each.started < each.ended for each in first)


def test_the_program_says_why_a_request_failed(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        refusing = f"{server.http}/nothing"
        argv = [sys.executable, "-m", "netns_lab.traffic", refusing, "--users", "1"]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        request = from_line(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=10)
    assert request.failed
    assert request.server is None
    assert request.error == "HTTPException: status 404"
