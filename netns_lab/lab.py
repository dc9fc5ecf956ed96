"""A running lab: builds it from its plan, starts its programs, and removes all of it again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from pydantic import TypeAdapter

from netns_lab import capability, certificate, names, page, plan, programs, readiness
from netns_lab.config import switch_config
from netns_lab.errors import LabError, UnknownNameError
from netns_lab.picture import picture
from netns_lab.processes import ProcessRecord, end_recorded, kill_recorded, pids_in, start_time
from netns_lab.programs import CONTROL_SOCKET, environment, lb_switch, prompting
from netns_lab.state import RUN_DIRECTORY, State, all_prefixes, changing, is_prefix, lab_directory
from netns_lab.teardown import interrupts_held, netns_path, remove, sweep
from netns_lab.topologies import SWITCH, TEXTBOOK, TOPOLOGIES, Host, Topology
from netns_lab.topology import Health, with_health

DEFAULT_PREFIX = "lb-"
PICTURE = "picture.txt"
"""The lab drawn for people: its topology may be one that nobody else knows."""
TOPOLOGY = "topology.json"
"""The same for programs, with the health checks that the lab was given."""
SERVER_PATIENCE = 15.0
SWITCH_PATIENCE = 20.0
"""Seconds until a program that does not serve counts as failed."""

_TOPOLOGIES = TypeAdapter(Topology)

__all__ = [
    "DEFAULT_PREFIX",
    "Lab",
    "LabError",
    "LabSummary",
    "UnknownNameError",
    "attach",
    "down",
    "exec_in",
    "list_labs",
    "show",
    "up",
]


@dataclass(frozen=True)
class LabSummary:
    """One line of `lb-switch lab list`.  switch_pid is None without a live switch, capture
    also with one that was started by hand.

    complete: False for a lab whose building was cut short; `down` removes it all the same.
    """

    prefix: str
    topology: str
    capture: str | None
    switch_pid: int | None
    hosts: tuple[str, ...]
    directory: Path
    complete: bool


class Lab:
    """One lab, by its prefix.  As a context manager: up at the beginning, down at the end."""

    def __init__(
        self,
        topology: Topology = TEXTBOOK,
        prefix: str | None = None,
        *,
        capture: str = "tun",
        scheduler: str = "rr",
        switch: bool = True,
        check_interval: float = 1.0,
        switch_options: Mapping[str, int | str] = MappingProxyType({}),
        check_invariants: bool = False,
        run_options: Sequence[str] = (),
    ) -> None:
        self.prefix = f"lbt{secrets.token_hex(3)}-" if prefix is None else _checked_prefix(prefix)
        self.topology = topology
        self.directory = lab_directory(self.prefix)
        self.config_path = self.directory / "switch.toml"
        self.control_socket = self.directory / CONTROL_SOCKET
        self.capture = capture
        self.scheduler = scheduler
        self.check_interval = check_interval
        self.switch_options = switch_options
        self.check_invariants = check_invariants
        self.run_options = tuple(run_options)
        """Further options of `lb-switch run`."""
        self._with_switch = switch
        self._started: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failure = ""
        if self.check_invariants and kind is None:
            try:
                self.stop_switch()
            except UnknownNameError:  # down already
                pass
            except LabError as failed:
                failure = str(failed)
        self.down()
        if failure:
            raise LabError(failure)

    # --- building and removing -------------------------------------------------------------------

    def up(self) -> None:
        """Build the lab and start its programs; all or nothing.  Raises LabError."""
        if (why := capability.missing()) is not None:
            raise LabError(why)
        namespaces = plan.namespaces(self.topology, self.prefix)
        self._claim_directory()
        try:
            taken = [each for each in namespaces if netns_path(each).exists()]
            if taken:
                raise LabError(f"a namespace {taken[0]} exists already and is not this lab's")
            State(self.prefix, self.topology.name, list(namespaces)).save(self.directory)
            (self.directory / TOPOLOGY).write_bytes(_TOPOLOGIES.dump_json(self.topology))
            text = f"{self.topology.summary}\n\n{picture(self.topology)}\n"
            (self.directory / PICTURE).write_text(text, encoding="utf-8")
            for command in plan.up_commands(self.topology, self.prefix):
                _run(command)
            self._start_servers()
            if self._with_switch:
                self.start_switch()
            else:
                self.write_config()
            with self._changing() as state:
                state.complete = True
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Remove the lab: its processes, its namespaces, its directory.  Works on any part of one.

        Raises LabError if a namespace resists; the state file then stays, for the next try.
        """
        with interrupts_held():
            remove(self.directory)
            for process in self._started:
                process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()
            self._started.clear()

    def _claim_directory(self) -> None:
        RUN_DIRECTORY.mkdir(parents=True, exist_ok=True)
        sweep(RUN_DIRECTORY)
        try:
            self.directory.mkdir()
        except FileExistsError:
            raise LabError(
                f"the lab {self.prefix} is up already (lb-switch lab down --prefix {self.prefix})"
            ) from None

    # --- running programs ------------------------------------------------------------------------

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        check: bool = False,
        input: str | None = None,  # noqa: A002 - the name subprocess.run gives it
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a host and collect its output.

        timeout: seconds.  Raises LabError after the timeout or, with `check`, if it fails.
        """
        try:
            result = subprocess.run(
                self._inside(host, argv),
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                env=environment(self.directory),
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise LabError(
                f"{host}: {shlex.join(argv)}: no end after {timeout:g} seconds"
            ) from None
        if check and result.returncode != 0:
            raise LabError(f"{host}: {shlex.join(argv)}: {_last_line(result.stderr)}")
        return result

    def popen(
        self, host: str, argv: Sequence[str], **popen_arguments: Any
    ) -> subprocess.Popen[Any]:
        """Start a program on a host; `down` ends it at the latest.

        It gets its own session, so that Ctrl-C in the terminal is for us to handle.
        """
        return self._begin(host, argv, self._inside(host, argv), popen_arguments)

    def _begin(
        self,
        host: str,
        argv: Sequence[str],
        whole: Sequence[str],
        popen_arguments: dict[str, Any],
    ) -> subprocess.Popen[Any]:
        """Start `whole`, and put it on record as `argv` on a host."""
        arguments: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "env": environment(self.directory),
            "start_new_session": True,
        }
        process: subprocess.Popen[Any] = subprocess.Popen(whole, **arguments | popen_arguments)
        self._started.append(process)
        record = _record(process, host, argv)
        with self._changing() as state:
            state.processes = [each for each in state.processes if each.alive]
            state.processes.append(record)
        return process

    def processes(self) -> list[ProcessRecord]:
        """Every program that was started in the lab and is on record; some may have ended.

        Raises UnknownNameError if the lab is gone.
        """
        for each in self._started:
            each.poll()  # what has ended is taken from the table of processes
        return _state(self.prefix).processes

    def client(self, host: str, *arguments: str, timeout: float = 60.0) -> dict[str, Any]:
        """Run `netns_lab.client` on a host; its result (which names its errors)."""
        result = self.exec(host, programs.client(arguments), timeout=timeout)
        try:
            answer: dict[str, Any] = json.loads(result.stdout)
        except ValueError:
            raise LabError(f"{host}: client: {_last_line(result.stderr)}") from None
        return answer

    def _inside(self, host: str, argv: Sequence[str]) -> list[str]:
        known = [SWITCH, *(each.name for each in self.topology.machines)]
        if host not in known:
            raise UnknownNameError(f"no host {host!r} in this lab: {', '.join(known)}")
        return list(plan.inside(plan.namespace(self.prefix, host), *argv))

    # --- the real servers ------------------------------------------------------------------------

    def kill_server(self, name: str) -> bool:
        """End a real server's program by SIGKILL, as a crash would; its host stays.

        False if none was running.
        """
        names.server(self.topology, name)
        with self._changing() as state:
            dying = [
                each
                for each in state.processes
                if each.host == name and programs.is_server(each.command)
            ]
            killed = any(each.alive for each in dying)
            kill_recorded(dying)
            state.processes = [each for each in state.processes if each not in dying]
        return killed

    def start_server(self, name: str) -> None:
        """Start a real server's program again; wait until it serves.  Raises LabError."""
        self._start_and_await((names.server(self.topology, name),))

    def _start_servers(self) -> None:
        certificate.create(self.directory / certificate.FILE, self.topology.vips)
        self._start_and_await(self.topology.servers)

    def _start_and_await(self, hosts: Sequence[Host]) -> None:
        waiting = {host.name: self._start_server(host) for host in hosts}
        try:
            deadline = time.monotonic() + SERVER_PATIENCE
            for name, descriptor in waiting.items():
                if not readiness.announced(descriptor, deadline):
                    log = self.directory / f"{name}.log"
                    raise LabError(f"the server {name} did not start: {_last_line_of(log)}")
        finally:
            for descriptor in waiting.values():
                os.close(descriptor)

    def _start_server(self, host: Host) -> int:
        """Start it; return the descriptor on which it will announce that it serves."""
        readable, writable = os.pipe()
        argv = programs.server(host, self.directory / certificate.FILE, writable)
        try:
            with (self.directory / f"{host.name}.log").open("ab") as log:
                self.popen(host.name, argv, stdout=log, stderr=log, pass_fds=(writable,))
        finally:
            os.close(writable)
        return readable

    # --- the switch ------------------------------------------------------------------------------

    def start_switch(self, *, capture: str | None = None, scheduler: str | None = None) -> None:
        """Write the configuration, start `lb-switch run`, wait until it serves.

        Raises LabError with the program's own last words if it does not.
        """
        self.capture = capture or self.capture
        self.scheduler = scheduler or self.scheduler
        self.write_config()
        log_path = self.directory / "switch.log"
        with log_path.open("ab") as log:
            argv = [*lb_switch(), "run", str(self.config_path), *self.run_options]
            if self.check_invariants:
                argv.append("--check-invariants")
            process = self.popen(SWITCH, argv, stdout=log, stderr=log)
        with self._changing() as state:
            state.switch = next(each for each in state.processes if each.pid == process.pid)
            state.capture, state.scheduler = self.capture, self.scheduler
        if not readiness.switch_serves(
            self.control_socket, process, time.monotonic() + SWITCH_PATIENCE
        ):
            raise LabError(f"the switch did not start: {_last_line_of(log_path)}")

    def write_config(self) -> None:
        """Write the file that `start_switch` runs."""
        self.config_path.write_text(
            switch_config(
                self.topology,
                capture=self.capture,
                scheduler=self.scheduler,
                control_socket=self.control_socket,
                interval=self.check_interval,
                options=self.switch_options,
            ),
            encoding="utf-8",
        )

    def stop_switch(self) -> None:
        """End the switch program as an operator would (SIGTERM), and wait until it is gone.

        Raises LabError with its last words if it has failed: a broken invariant, say.
        """
        with self._changing() as state:
            record, state.switch = state.switch, None
        if record is not None:
            end_recorded([record])
            for process in self._started:
                # A negative code is a signal: somebody wanted its end.
                if process.pid == record.pid and process.wait() > 0:
                    log = self.directory / "switch.log"
                    raise LabError(f"the switch failed: {_last_line_of(log)}")

    def cli(self, *arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run `lb-switch ARGUMENTS` in the switch's namespace."""
        return self.exec(SWITCH, [*lb_switch(), *arguments], timeout=timeout)

    # --- the page --------------------------------------------------------------------------------

    def start_page(self, *options: str) -> str:
        """Start `lb-switch lab web` on this machine; return the address.  Raises LabError."""
        argv = [*lb_switch(), "lab", "web", "--prefix", self.prefix, *options]
        with page.open_log(self.directory) as log:
            process = self._begin(page.HOST, argv, argv, {"stdout": log, "stderr": log})
        address = page.await_address(self.directory, process)
        if address is None:
            raise LabError(f"the page did not start: {_last_line_of(self.directory / page.LOG)}")
        return address

    def end_page(self) -> None:
        """End what `start_page` began."""
        end_recorded(each for each in self.processes() if each.host == page.HOST)

    def _changing(self) -> contextlib.AbstractContextManager[State]:
        return _changing_or_gone(self.directory, self.prefix)


# --- what the command line calls -----------------------------------------------------------------


def up(
    topology_name: str = TEXTBOOK.name,
    prefix: str = DEFAULT_PREFIX,
    *,
    capture: str = "tun",
    scheduler: str = "rr",
    switch: bool = True,
    health: Health = "none",
    run_options: Sequence[str] = (),
) -> Lab:
    """Build a lab that outlives this process.  Raises LabError, UnknownNameError.

    health: how its real servers are probed.  run_options: further ones of `lb-switch run`.
    """
    if topology_name not in TOPOLOGIES:
        raise UnknownNameError(f"no topology {topology_name!r}: {', '.join(TOPOLOGIES)}")
    lab = Lab(
        with_health(TOPOLOGIES[topology_name], health),
        prefix,
        capture=capture,
        scheduler=scheduler,
        switch=switch,
        run_options=run_options,
    )
    lab.up()
    return lab


def down(prefix: str = DEFAULT_PREFIX) -> bool:
    """Remove a lab, whole or half-built; False if there is none.  Raises LabError."""
    directory = lab_directory(_checked_prefix(prefix))
    if not directory.is_dir():
        return False
    with interrupts_held():
        remove(directory)
    return True


def attach(prefix: str = DEFAULT_PREFIX) -> Lab:
    """A lab that is up, as an object.  Raises UnknownNameError if there is none."""
    state = _state(prefix)
    try:
        topology = _TOPOLOGIES.validate_json((lab_directory(prefix) / TOPOLOGY).read_bytes())
    except (OSError, ValueError):
        raise LabError(f"the lab {prefix} was not built by this version: down, then up") from None
    return Lab(
        topology,
        prefix,
        capture=state.capture or "tun",
        scheduler=state.scheduler or "rr",
    )


def list_labs() -> list[LabSummary]:
    """Every lab on this machine, by prefix."""
    return [_summary(prefix, State.load(lab_directory(prefix))) for prefix in all_prefixes()]


def exec_in(prefix: str, host: str, argv: Sequence[str]) -> int:
    """Run a program on a host, with our own stdin, stdout and stderr; its exit code.

    A program ended by signal N gives 128 + N, as in a shell.  A leading `--`, which ends the
    options of whoever calls, is no program.  Ctrl-C and SIGTERM are the program's to answer: it
    is waited for, however long its clean-up takes.  Only for the main thread.
    """
    if argv and argv[0] == "--":
        argv = argv[1:]
    state = _state(prefix)
    netns = plan.namespace(prefix, host)
    if netns not in state.namespaces:
        hosts = ", ".join(each.removeprefix(prefix) for each in state.namespaces)
        raise UnknownNameError(f"no host {host!r} in this lab: {hosts}")
    with subprocess.Popen(
        plan.inside(netns, *argv), env=prompting(environment(lab_directory(prefix)), host)
    ) as process:
        before = {
            # The terminal sends Ctrl-C to the program as well.
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return 128 - code if code < 0 else code


def show(prefix: str = DEFAULT_PREFIX) -> str:
    """The lab as text of at most 80 columns.  Raises UnknownNameError if there is none."""
    state = _state(prefix)
    summary = _summary(prefix, state)
    if summary.switch_pid is None:
        switch = "the switch is not running"
    elif summary.capture is None:
        switch = f"a switch that was started by hand runs (pid {summary.switch_pid})"
    else:
        switch = f"the switch captures with {summary.capture} (pid {summary.switch_pid})"
    drawn = (summary.directory / PICTURE).read_text(encoding="utf-8")
    address = page.address(summary.directory) if _page_runs(state) else None
    told = "" if address is None else f"the page is at {address}\n"
    return (
        f"lab {prefix}, topology {summary.topology}:\n{drawn}\n{switch}\n"
        f"{told}files: {summary.directory}\n"
    )


# --- the parts -----------------------------------------------------------------------------------


def _checked_prefix(prefix: str) -> str:
    if not is_prefix(prefix):
        raise UnknownNameError(
            f"{prefix!r} is no prefix: lower-case letters and digits that end in '-', as in 'lb-'"
        )
    return prefix


def _state(prefix: str) -> State:
    state = State.load(lab_directory(_checked_prefix(prefix)))
    if state is None:
        raise UnknownNameError(f"no lab {prefix} is up (lb-switch lab up)")
    return state


def _summary(prefix: str, state: State | None) -> LabSummary:
    directory = lab_directory(prefix)
    if state is None:
        return LabSummary(prefix, "?", None, None, (), directory, complete=False)
    live = state.switch is not None and state.switch.alive
    pid = state.switch.pid if live and state.switch is not None else _started_by_hand(prefix)
    return LabSummary(
        prefix=prefix,
        topology=state.topology,
        capture=state.capture if live else None,
        switch_pid=pid,
        hosts=tuple(each.removeprefix(prefix) for each in state.namespaces),
        directory=directory,
        complete=state.complete,
    )


def _page_runs(state: State) -> bool:
    return any(each.host == page.HOST and each.alive for each in state.processes)


def _started_by_hand(prefix: str) -> int | None:
    """The process of a `lb-switch run` in the switch's namespace that is not the lab's own."""
    for pid in pids_in(plan.namespace(prefix, SWITCH)):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        names = {os.path.basename(each) for each in argv[:4]}
        if b"run" in argv and names & {b"lb-switch", b"lb_switch"}:
            return pid
    return None


@contextlib.contextmanager
def _changing_or_gone(directory: Path, prefix: str) -> Iterator[State]:
    try:
        with changing(directory) as state:
            yield state
    except FileNotFoundError:
        raise UnknownNameError(f"no lab {prefix} is up (lb-switch lab up)") from None


def _record(process: subprocess.Popen[Any], host: str, argv: Sequence[str]) -> ProcessRecord:
    # A program that has already ended is recorded with an impossible start time: never signalled.
    started = start_time(process.pid)
    return ProcessRecord(process.pid, -1 if started is None else started, host, shlex.join(argv))


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    if result.returncode != 0:
        raise LabError(f"{shlex.join(command)}: {_last_line(result.stderr)}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _last_line_of(log: Path) -> str:
    return _last_line(log.read_text(encoding="utf-8", errors="replace"))
