"""The probe process: fed, heard, restarted; real processes, a clock turned by hand."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from lb_switch.health import messages, process
from lb_switch.health.check import Target
from lb_switch.health.messages import Found
from lb_switch.health.process import (
    BACK_OFF,
    COMMAND,
    LONG_LIFE,
    WATCH,
    ProbeProcess,
    ProcessStatus,
)
from lb_switch.health.tracker import ProbeResult
from tests.health import misbehaving
from tests.health.hand_loop import HandLoop


class Ear:
    """Wants targets probed, and hears what is found."""

    def __init__(self, *targets: Target) -> None:
        self.targets = targets
        self.found: list[Found] = []
        self.complaints: list[str] = []
        self.wait: float | None = None

    def orders(self) -> bytes:
        return b"".join(messages.start(n, each) for n, each in enumerate(self.targets, 1))

    def note(self, found: Found, now: float) -> None:
        self.found.append(found)

    def patience(self) -> float | None:
        return self.wait

    def complain(self, line: str) -> None:
        self.complaints.append(line)

    def complained(self, times: int) -> bool:
        return len(self.complaints) >= times

    def heard(self, times: int) -> bool:
        return len(self.found) >= times

    def of(self, number: int) -> list[str]:
        return [found.result.finding for found in self.found if found.number == number]


class Bed:
    def __init__(self) -> None:
        self.loop = HandLoop()
        self.processes: list[ProbeProcess] = []

    def start(self, ear: Ear, *command: str) -> ProbeProcess:
        made = ProbeProcess(self.loop, ear, command or COMMAND)
        self.processes.append(made)
        made.open(self.loop.now)
        return made


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    yield made
    for each in made.processes:
        each.close()
    for each in made.processes:
        assert each.status.state == "stopped"


@pytest.fixture
def port() -> Iterator[int]:
    """A port whose connections are accepted (by the kernel)."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield listener.getsockname()[1]


def at(port: int, interval: float = 0.02) -> Target:
    return Target("tcp", ip_address("127.0.0.1"), port, interval, 1.0)


def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_it_probes_what_it_is_told(bed: Bed, port: int) -> None:
    with misbehaving.refusing() as closed:
        ear = Ear(at(port), at(closed))
        probing = bed.start(ear)
        assert probing.status[:3] == ("starting", probing.status.pid, 0)
        bed.loop.until(lambda: len(ear.of(1)) > 3 and len(ear.of(2)) > 3)
        assert probing.status.state == "running"
        assert set(ear.of(1)) == {"connected"}
        assert set(ear.of(2)) == {"connect refused"}
        probing.send(messages.stop(2) + messages.start(3, at(port)))
        bed.loop.until(lambda: len(ear.of(3)) > 3)
        ear.found.clear()
        bed.loop.until(lambda: len(ear.of(3)) > 3)
        assert ear.of(2) == []
        assert ear.complaints == []


def test_orders_larger_than_the_sockets_buffer_all_arrive(bed: Bed, port: int) -> None:
    """The switch does not wait for the process to read them."""
    ear = Ear(*[at(port, interval=60.0)] * 3000)
    probing = bed.start(ear)
    assert len(ear.orders()) > 300_000
    probing.send(messages.start(5000, at(port)))
    bed.loop.until(lambda: ear.of(5000) and len({found.number for found in ear.found}) == 3001)


def test_it_ends_with_the_switch_and_ignores_its_signals(bed: Bed, port: int) -> None:
    ear = Ear(at(port))
    probing = bed.start(ear)
    bed.loop.until(lambda: ear.found)
    pid = probing.status.pid
    assert pid is not None
    assert os.getsid(pid) == pid, "Ctrl-C in the terminal does not reach it"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    ear.found.clear()
    bed.loop.until(lambda: ear.found)
    probing.close()
    assert gone(pid)
    assert ear.complaints == []


def test_it_ends_when_the_switch_is_killed() -> None:
    program = (
        "import signal, sys, time; from lb_switch.health.process import ProbeProcess;"
        "from tests.health.test_process import Ear; from tests.health.hand_loop import HandLoop;"
        "p = ProbeProcess(HandLoop(), Ear()); p.open(0.0); print(p.status.pid, flush=True);"
        "signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as switch:
        assert switch.stdout is not None
        pidfd = os.pidfd_open(int(switch.stdout.readline()))
        switch.kill()
        assert select.select([pidfd], [], [], 20.0)[0], "it outlived the switch"
        os.close(pidfd)


def test_when_it_dies_it_is_started_again(bed: Bed, port: int) -> None:
    ear = Ear(at(port))
    probing = bed.start(ear)
    bed.loop.until(lambda: ear.found)
    first = probing.status.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    bed.loop.until(lambda: ear.complaints)
    (complaint,) = ear.complaints
    assert complaint == (
        "health checks: the probe process ended (SIGKILL);"
        " the last known health stands, it is started again at once"
    )
    assert probing.status == ProcessStatus("waiting", None, 1, "ended (SIGKILL)")
    probing.send(messages.start(9, at(port)))  # says nothing to nobody, and harms nobody
    ear.found.clear()
    bed.loop.advance(0)
    assert probing.status.pid not in {None, first}
    bed.loop.until(lambda: ear.of(1))
    assert ear.complaints[1:] == ["health checks: the probe process runs again"]
    assert probing.status.state == "running"


def test_the_pause_doubles_with_each_death_in_a_row(bed: Bed) -> None:
    ear = Ear()
    probing = bed.start(ear, sys.executable, "-S", "-c", "raise SystemExit(3)")
    for number, pause in enumerate((*BACK_OFF, BACK_OFF[-1]), 1):
        bed.loop.until(partial(ear.complained, number))
        assert ear.complaints[-1] == (
            "health checks: the probe process ended (exit code 3);"
            " the last known health stands, "
            + (f"next start in {pause:g} s" if pause else "it is started again at once")
        )
        assert probing.status.state == "waiting"
        if pause:
            bed.loop.advance(pause - 0.1)
            assert probing.status.state == "waiting"
        bed.loop.advance(min(pause, 0.1))
        assert probing.status.state == "starting"
        assert probing.status.restarts == number


def test_after_a_long_life_a_death_is_a_first_one(bed: Bed, port: int) -> None:
    ear = Ear(at(port))
    probing = bed.start(ear)
    for _ in range(2):
        bed.loop.until(lambda: probing.status.state == "running")
        bed.loop.advance(LONG_LIFE)
        ear.complaints.clear()
        assert probing.status.pid is not None
        os.kill(probing.status.pid, signal.SIGKILL)
        bed.loop.until(lambda: ear.complaints)
        assert ear.complaints[0].endswith("it is started again at once")
        bed.loop.advance(0)


def test_a_program_that_cannot_be_started_is_told_and_tried_again(bed: Bed, tmp_path: Path) -> None:
    ear = Ear()
    program = tmp_path / "python"
    probing = bed.start(ear, str(program))
    (complaint,) = ear.complaints
    assert complaint == (
        "health checks: the probe process cannot be started (No such file or directory);"
        " the last known health stands, it is started again at once"
    )
    assert probing.status.state == "waiting"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    bed.loop.advance(0)
    assert probing.status.state == "starting"


@pytest.mark.parametrize(
    "speech", ["print('hello')", "print('{}')", "print('[1]')", "print('x' * 100000)"]
)
def test_a_process_that_talks_nonsense_is_ended(bed: Bed, speech: str) -> None:
    program = f"import os, sys, time; sys.stdout = os.fdopen(0, 'w'); {speech};"
    program += "sys.stdout.flush(); time.sleep(60)"
    ear = Ear()
    bed.start(ear, sys.executable, "-S", "-c", program)
    bed.loop.until(lambda: ear.complaints)
    assert "ended (it talks nonsense)" in ear.complaints[0]


def test_a_process_that_hangs_up_is_ended(bed: Bed) -> None:
    ear = Ear()
    bed.start(ear, sys.executable, "-S", "-c", "import os, time; os.close(0); time.sleep(60)")
    bed.loop.until(lambda: ear.complaints)
    assert "ended (SIGKILL)" in ear.complaints[0]


def test_a_switch_that_was_stopped_itself_blames_nobody(bed: Bed, port: int) -> None:
    """SIGSTOP, a laptop's lid: the clock has gone on, and the process could not be heard."""
    ear = Ear(at(port))
    ear.wait = 12.0
    probing = bed.start(ear)
    bed.loop.until(lambda: ear.found)
    first = probing.status.pid
    for asleep in (20.0, 3600.0):
        bed.loop.jump(asleep)
        bed.loop.advance(WATCH)
        assert ear.complaints == []
        assert probing.status.pid == first
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    bed.loop.advance(2 * WATCH)
    bed.loop.advance(WATCH)
    bed.loop.until(lambda: ear.complaints)
    assert "silent for" in ear.complaints[0]


def test_a_process_that_falls_silent_is_ended_and_started_again(bed: Bed, port: int) -> None:
    ear = Ear(at(port))
    ear.wait = 12.0
    probing = bed.start(ear)
    bed.loop.until(lambda: ear.found)
    assert probing.status.pid is not None
    os.kill(probing.status.pid, signal.SIGSTOP)
    ear.found.clear()
    bed.loop.advance(2 * WATCH)
    assert ear.complaints == []
    bed.loop.advance(WATCH)
    bed.loop.until(lambda: ear.complaints)
    assert "ended (silent for 15 s)" in ear.complaints[0]
    bed.loop.advance(0.5)
    bed.loop.until(lambda: ear.found)


def test_silence_is_right_where_nothing_is_checked(bed: Bed) -> None:
    ear = Ear()
    probing = bed.start(ear)
    bed.loop.until(lambda: probing.status.state == "running")
    bed.loop.advance(1000.0)
    assert (probing.status.state, ear.complaints) == ("running", [])


def test_the_switch_reads_a_bounded_amount_at_a_time(bed: Bed) -> None:
    line = messages.found(1, ProbeResult(True, "x" * 80))
    lines = 5000
    program = f"import os, time; [os.write(0, {line!r}) for _ in range({lines})]; time.sleep(60)"
    ear = Ear()
    bed.start(ear, sys.executable, "-S", "-c", program)
    most = 0
    while len(ear.found) < lines:
        before = len(ear.found)
        bed.loop.until(partial(ear.heard, before + 1))
        most = max(most, len(ear.found) - before)
    assert most <= process._READ // len(line) + 1


def test_orders_go_on_while_the_process_says_nothing(bed: Bed, port: int) -> None:
    answer = messages.found(1, ProbeResult(True, "all there"))
    program = (
        "import os, time\nheard = bytearray()\n"
        f"while not heard.endswith({messages.stop(99)!r}): heard += os.read(0, 65536)\n"
        f"os.write(0, {answer!r}); time.sleep(60)"
    )
    ear = Ear(*[at(port)] * 5000)
    probing = bed.start(ear, sys.executable, "-S", "-c", program)
    probing.send(messages.stop(99))
    bed.loop.until(lambda: ear.of(1) == ["all there"])
