"""A fresh lab for one contestant: built, started, seen to serve, and removed."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from netns_lab import programs
from netns_lab.bench import processor
from netns_lab.bench.contestants import Contestant, command_line, filled_in, kernel_settings
from netns_lab.bench.measures import PROGRAMS, Measure
from netns_lab.bench.topology import (
    BENCH,
    BULK_PORT,
    BULK_SERVER,
    CLIENT,
    ECHO_PORT,
    HTTP_PORT,
    SERVERS,
    VIP,
    rips,
)
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.state import State
from netns_lab.topologies import SWITCH

PATIENCE = 10.0
"""Seconds until a program that does not listen counts as failed."""
SLACK = 30.0
"""Seconds that a measure may take beyond its time."""
_PAUSE = 0.02
_LISTENING = {"tcp": "0A", "udp": "07"}  # include/net/tcp_states.h


def require(programs: Iterable[str]) -> None:
    """Raise LabError, with its fix, unless all these programs are on the machine."""
    lacking = [name for name in sorted(programs) if shutil.which(name) is None]
    if lacking:
        packages = sorted({PROGRAMS[name] for name in lacking})
        raise LabError(
            f"not on this machine: {', '.join(lacking)}; sudo scripts/bench installs what is"
            f" missing (or: apt-get install {' '.join(packages)})"
        )


class Arena:
    """One contestant in a lab of its own, as a context manager.

    Raises LabError where something does not start.
    """

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        capture = contestant.name if contestant.kind == "ours" else "tun"
        self.lab = Lab(BENCH, capture=capture, switch=False)
        self.balancer_pid: int | None = None

    def __enter__(self) -> Self:
        self.lab.up()
        try:
            for host in (SWITCH, CLIENT, *SERVERS):
                self.lab.exec(host, ["sysctl", "-q", "-w", *kernel_settings()], check=True)
            self._start_servers()
            self._start_contestant()
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lab.down()

    # --- the servers -----------------------------------------------------------------------------

    def _start_servers(self) -> None:
        waiting = []
        for name, address in zip(SERVERS, rips(), strict=True):
            configuration = self._write(f"{name}.conf", "server.conf", name=name)
            nginx = self._start(name, ["nginx", "-c", str(configuration)])
            echo = self._start(name, [*_udp_program(), "server", f"{address}:{ECHO_PORT}"])
            waiting += [(nginx, "tcp", HTTP_PORT), (echo, "udp", ECHO_PORT)]
        bulk = self._start(BULK_SERVER, ["iperf3", "--server", "--port", str(BULK_PORT)])
        waiting.append((bulk, "tcp", BULK_PORT))
        self._wait(waiting)

    # --- the contestant --------------------------------------------------------------------------

    def _start_contestant(self) -> None:
        contestant = self.contestant
        if contestant.vip_is_local:
            self._on_switch("ip", "address", "add", f"{VIP}/32", "dev", "clients")
        if contestant.kind == "ours":
            self.lab.start_switch()
            state = State.load(self.lab.directory)
            assert state is not None
            assert state.switch is not None
            self.balancer_pid = state.switch.pid
        elif contestant.kind == "proxy":
            process = self._start(SWITCH, self._command_line())
            self._wait([(process, "tcp", HTTP_PORT), (process, "tcp", BULK_PORT)])
            self.balancer_pid = process.pid
        elif contestant.kind == "kernel":
            self._on_switch(*self._command_line())

    def _command_line(self) -> list[str]:
        configuration = self._write(self.contestant.template, self.contestant.template)
        return command_line(self.contestant, configuration)

    # --- measuring -------------------------------------------------------------------------------

    def run(self, measure: Measure, seconds: int) -> tuple[str, float | None]:
        """Run the measure's client; return its output and the balancer's CPU seconds meanwhile.

        None for a contestant without a process.  Raises LabError if client or balancer fail.
        """
        command = measure.command(self.contestant.target, seconds)
        if measure.program == "udp":
            command = [*_udp_program(), *command]
        before = self._cpu()
        result = self.lab.exec(CLIENT, command, timeout=seconds + SLACK)
        after = self._cpu()
        if self.balancer_pid is not None and not Path(f"/proc/{self.balancer_pid}").exists():
            raise LabError(f"{self.contestant.name}: the balancer ended during {measure.name}")
        output = result.stdout if result.stdout.strip() else result.stderr
        return output, None if before is None or after is None else after - before

    def _cpu(self) -> float | None:
        return None if self.balancer_pid is None else processor.cpu_seconds(self.balancer_pid)

    # --- the parts -------------------------------------------------------------------------------

    def _on_switch(self, *command: str) -> None:
        self.lab.exec(SWITCH, command, check=True)

    def _write(self, file: str, template: str, **extra: str) -> Path:
        path = self.lab.directory / file
        path.write_text(filled_in(template, self.lab.directory, **extra), encoding="utf-8")
        return path

    def _start(self, host: str, argv: list[str]) -> subprocess.Popen[Any]:
        log = self.lab.directory / f"{host}-{Path(argv[0]).name}.out"
        with log.open("ab") as out:
            return self.lab.popen(host, argv, stdout=out, stderr=out)

    def _wait(self, programs: list[tuple[subprocess.Popen[Any], str, int]]) -> None:
        deadline = time.monotonic() + PATIENCE
        for process, protocol, port in programs:
            while not listens(process.pid, protocol, port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise LabError(
                        f"{self.contestant.name}: no program listens on {protocol} port {port}:"
                        f" {self._last_words()}"
                    )
                time.sleep(_PAUSE)

    def _last_words(self) -> str:
        for log in sorted(self.lab.directory.glob("*.out")):
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                return f"{log.name}: {lines[-1]}"
        return "no program said anything"


def listens(pid: int, protocol: str, port: int) -> bool:
    """Whether anybody listens on the port in this process's network namespace.

    Looking it up disturbs nobody; a trial connection would be iperf3's first test.
    """
    state = _LISTENING[protocol]
    for family in ("", "6"):
        try:
            text = Path(f"/proc/{pid}/net/{protocol}{family}").read_text(encoding="ascii")
        except OSError:
            continue
        if listens_in(text, state, port):
            return True
    return False


def listens_in(text: str, state: str, port: int) -> bool:
    """Whether /proc/net/tcp (or its kin) has a socket in this state on this local port."""
    suffix = f":{port:04X}"
    rows = (line.split() for line in text.splitlines()[1:])
    return any(row[1].endswith(suffix) and row[3] == state for row in rows)


def _udp_program() -> list[str]:
    return programs.module("netns_lab.bench.udp")
