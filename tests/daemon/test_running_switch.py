"""The running switch as it is put together, with a capture in memory."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lb_switch.capture.memory import MemoryCapture
from lb_switch.config.load import load
from lb_switch.control.client import ControlClient
from lb_switch.control.socket_file import SocketInUseError
from lb_switch.daemon.invariant_check import BrokenInvariantError
from lb_switch.daemon.running_switch import RunningSwitch
from lb_switch.engine.servers import VirtualServer
from tests.control.live import web
from tests.support.packets import dissect, tcp


class Capture(MemoryCapture):
    """Follows changes, and loses what it is told to have lost."""

    routed = False

    def __init__(self) -> None:
        super().__init__()
        self.lost = {"overruns": 0}

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        self.virtual_servers = tuple(virtual_servers)

    def losses(self) -> dict[str, int]:
        return dict(self.lost)


class Bed:
    """A running switch, and what it said; it stops itself after a while."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "lb.toml"
        self.path.write_text(web())
        self.capture = Capture()
        self.said: list[str] = []
        self.complained: list[str] = []
        self.running = RunningSwitch(
            load(self.path),
            lambda _switch: self.capture,
            folder / "control.sock",
            path=self.path,
            say=self.said.append,
            complain=self.complained.append,
            on_serving=lambda: self.said.append("serving"),
            on_stopping=lambda: self.said.append("stopping"),
            on_ended=lambda: self.said.append("ended"),
            **options,
        )
        self.socket = folder / "control.sock"

    def run(self, begin: Callable[[], None], seconds: float = 0.3) -> None:
        def started(now: float) -> None:
            begin()
            self.running.loop.call_at(now + seconds, lambda _now: self.running.loop.stop())

        self.running.run(started)


def in_a_thread(ask: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_packets_go_through_it_and_it_says_when(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.run(lambda: bed.capture.feed(tcp(("10.0.1.11", 4), ("10.0.1.100", 80), "S")))
    (sent,) = bed.capture.sent
    assert dissect(sent).dst == "10.0.2.11"
    assert bed.said == ["serving", "stopping", "ended"]
    assert not bed.socket.exists()


def test_it_answers_and_streams_what_its_capture_lost(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    stats: dict[str, Any] = {}
    lines: list[dict[str, Any]] = []

    def ask() -> None:
        with ControlClient(bed.socket) as client:
            stats.update(client.ask("show", what="stats"))
        with ControlClient(bed.socket) as client:
            for line in client.subscribe("servers"):
                lines.append(json.loads(line))
                bed.capture.lost["overruns"] = 3
                if lines[-1].get("event") == "losses":
                    return

    threads: list[threading.Thread] = []
    bed.run(lambda: threads.append(in_a_thread(ask)), seconds=2.0)
    threads[0].join(5)
    assert stats["capture"] == {"overruns": 0}
    assert stats["pid"] == os.getpid()
    assert lines[-1]["event"] == "losses"
    assert (lines[-1]["capture"], lines[-1]["counts"]) == ("memory", {"overruns": 3})


def test_a_hangup_reads_the_file_again(tmp_path: Path) -> None:
    bed = Bed(tmp_path)

    def hang_up() -> None:
        bed.path.write_text(web(weight=4))
        os.kill(os.getpid(), signal.SIGHUP)

    bed.run(hang_up)
    assert "reload: web: real server 10.0.2.11:8080 weight 1 -> 4" in bed.said
    assert bed.running.switch.virtual_servers["web"].real_servers[0].weight == 4
    bed = Bed(tmp_path)

    def hang_up_on_nonsense() -> None:
        bed.path.write_text("not TOML [")
        os.kill(os.getpid(), signal.SIGHUP)

    bed.run(hang_up_on_nonsense)
    assert any("cannot be used, nothing was changed" in line for line in bed.complained)


def test_two_have_not_one_socket(tmp_path: Path) -> None:
    first, second = Bed(tmp_path), Bed(tmp_path)

    def start_another() -> None:
        with pytest.raises(SocketInUseError):
            second.running._control.claim()

    first.run(start_another)
    second.running._control.close()
    second.running.health.close()


def test_broken_books_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb_switch.daemon.invariant_check.SECONDS", 0.05)
    bed = Bed(tmp_path, check_invariants=True)

    def break_it() -> None:
        bed.running.switch.virtual_servers["web"].real_servers[0].active += 1

    with pytest.raises(BrokenInvariantError, match="an invariant is broken"):
        bed.run(break_it, seconds=20.0)
