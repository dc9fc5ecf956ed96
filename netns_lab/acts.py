"""What can be done to a lab that is up: its servers, its cables, its clients.

Each act returns what it has done, as a sentence; names and addresses both say who is meant
(`names`).  All raise UnknownNameError for a name that is not there, and LabError if it cannot be
done.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netns_lab import names, plan, programs, request
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.processes import ProcessRecord, end_recorded
from netns_lab.topology import SWITCH, Host, Service, Topology, endpoint

TRAFFIC = "netns_lab.traffic"
LONGEST_DELAY = 60.0
"""Seconds that a server's answer can be held back."""


class Fault(NamedTuple):
    """How a server misbehaves: the status of its answers, seconds they take, or no answer."""

    status: int = 200
    seconds: float = 0.0
    silent: bool = False

    @property
    def text(self) -> str:
        """In words."""
        if self.silent:
            return "answers nothing"
        parts = [f"answers {self.status}"] if self.status != 200 else []
        if self.seconds:
            parts.append(f"answers after {self.seconds:g} s")
        return ", ".join(parts) or "answers as it should"


class Answers(NamedTuple):
    """What became of some requests: how often each server answered, and each error came."""

    servers: Mapping[str, int]
    errors: Mapping[str, int]

    @property
    def lines(self) -> list[str]:
        """In words."""
        answered, failed = sum(self.servers.values()), sum(self.errors.values())
        by = ", ".join(f"{name} {count}" for name, count in sorted(self.servers.items()))
        said = [f"{_many(answered, 'answer')}: {by}" if answered else "no answer"]
        if failed:
            said.append(f"{failed} failed")
            said += [f"  {count} x {error}" for error, count in sorted(self.errors.items())]
        return said


class Machine(NamedTuple):
    """How a machine of the lab is.  runs: whether its server does; None for a client, a router."""

    name: str
    addresses: tuple[str, ...]
    plugged: bool
    runs: bool | None
    fault: Fault

    @property
    def text(self) -> str:
        """In words."""
        parts = ["plugged in" if self.plugged else "unplugged"]
        if self.runs is not None:
            parts.append("the server runs" if self.runs else "the server does not run")
        if self.fault != Fault():
            parts.append(f"it {self.fault.text}")
        return ", ".join(parts)


# --- servers -------------------------------------------------------------------------------------


def kill(lab: Lab, word: str) -> str:
    """End a server's program by SIGKILL, as a crash would; its host stays."""
    host = names.server(lab.topology, word)
    if not lab.kill_server(host.name):
        return f"{host.name}: no server was running"
    return f"{host.name}: the server is killed (SIGKILL)"


def start(lab: Lab, word: str) -> str:
    """Start a server's program again."""
    host = names.server(lab.topology, word)
    if runs(lab, host):
        return f"{host.name}: the server was running already"
    lab.start_server(host.name)
    return f"{host.name}: the server runs"


def misbehave(lab: Lab, word: str, fault: Fault) -> str:
    """Let a server misbehave from now on; `Fault()` ends it."""
    host = names.server(lab.topology, word)
    order = f"/fault?status={fault.status}&seconds={fault.seconds:g}&silent={int(fault.silent)}"
    tell(lab, host.name, order)
    return f"{host.name}: {fault.text}"


def tell(lab: Lab, name: str, order: str) -> None:
    """Send a server's program an order (PUT), from its own host."""
    _ask_server(lab, lab.topology.host(name), "PUT", order)


def runs(lab: Lab, host: Host) -> bool:
    """Whether the host's server runs."""
    return any(
        each.alive and each.host == host.name and programs.is_server(each.command)
        for each in lab.processes()
    )


# --- cables --------------------------------------------------------------------------------------


def unplug(lab: Lab, word: str) -> str:
    """Pull a machine's cable: its gateway's port goes down, and it loses its carrier."""
    return _link(lab, word, "down", "is unplugged")


def plug(lab: Lab, word: str) -> str:
    """Put a machine's cable back."""
    return _link(lab, word, "up", "is plugged in")


def _link(lab: Lab, word: str, state: str, said: str) -> str:
    host = names.machine(lab.topology, word)
    gateway = lab.topology.segment(host.segment).gateway
    lab.exec(gateway, ["ip", "link", "set", plan.port(host.name), state], check=True)
    return f"{host.name} {said}"


# --- clients -------------------------------------------------------------------------------------


def request_some(
    lab: Lab, word: str, url: str, count: int, *, parallel: int = 1, keep_alive: bool = False
) -> Answers:
    """Send requests from a machine, and wait for all answers."""
    host = names.machine(lab.topology, word)
    arguments = ["requests", url, "-n", str(count), "--parallel", str(parallel)]
    if keep_alive:
        arguments.append("--keep-alive")
    # Each worker may have to wait for a time-out at each of its requests.
    answer = lab.client(host.name, *arguments, timeout=30 + 10.0 * -(-count // parallel))
    return Answers(answer["answers"], Counter(answer["errors"]))


def request_steadily(
    lab: Lab,
    word: str,
    url: str,
    rate: float,
    seconds: float,
    on_outcome: Callable[[request.Request], None] = lambda _: None,
) -> Answers:
    """Begin `rate` requests a second, whatever becomes of the others, and wait for the end."""
    servers: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    with _traffic(lab, word, url, rate, seconds, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                outcome = request.from_line(line)
                on_outcome(outcome)
                if outcome.server is not None:
                    servers[outcome.server] += 1
                else:
                    errors[outcome.error or ""] += 1
        except KeyboardInterrupt:
            process.terminate()
    return Answers(servers, errors)


def begin_load(lab: Lab, word: str, url: str, rate: float, seconds: float) -> str:
    """Let a machine send `rate` requests a second from now on, for so long at most."""
    host = names.machine(lab.topology, word)
    end_load(lab, word)
    _traffic(lab, word, url, rate, seconds, stdout=subprocess.DEVNULL)
    return f"{host.name}: {rate:g} requests a second to {url}, for {seconds:g} s"


def end_load(lab: Lab, word: str) -> str:
    """End what `begin_load` began."""
    host = names.machine(lab.topology, word)
    ending = [each for each in lab.processes() if each.alive and _is_load_of(host, each)]
    end_recorded(ending)
    return f"{host.name}: the load {'has ended' if ending else 'had ended already'}"


def _traffic(
    lab: Lab, word: str, url: str, rate: float, seconds: float, **popen_arguments: Any
) -> subprocess.Popen[Any]:
    host = names.machine(lab.topology, word)
    how = ["--rate", f"{rate:g}", "--seconds", f"{seconds:g}"]
    return lab.popen(host.name, programs.module(TRAFFIC, url, *how), **popen_arguments)


def _is_load_of(host: Host, record: ProcessRecord) -> bool:
    return record.host == host.name and f" -m {TRAFFIC} " in record.command


# --- logs ----------------------------------------------------------------------------------------


def log_of(lab: Lab, word: str) -> Path:
    """Return the file that the program of a machine writes: a server's, or the switch's.

    What clients have sent stands in its lines as it is: it is not yet fit for a terminal.
    """
    name = SWITCH if word == SWITCH else names.machine(lab.topology, word).name
    path = lab.directory / f"{name}.log"
    if not path.exists():
        raise LabError(f"{name} runs no program that writes a log")
    return path


# --- how it stands -------------------------------------------------------------------------------


def machines(lab: Lab) -> list[Machine]:
    """Return how each machine is: routers, clients, servers."""
    plugged: dict[str, bool] = {}
    for gateway in {segment.gateway for segment in lab.topology.segments}:
        listed = lab.exec(gateway, ["ip", "-j", "link", "show"], check=True)
        for link in json.loads(listed.stdout):
            plugged[f"{gateway} {link['ifname']}"] = "UP" in link["flags"]
    return [_machine(lab, host, plugged) for host in lab.topology.machines]


def _machine(lab: Lab, host: Host, plugged: Mapping[str, bool]) -> Machine:
    key = f"{lab.topology.segment(host.segment).gateway} {plan.port(host.name)}"
    running = runs(lab, host) if host.services else None
    fault = Fault()
    if running and _way_to_tell(lab.topology, host) is not None:
        try:
            fault = Fault(**json.loads(_ask_server(lab, host, "GET", "/fault")))
        except LabError:  # it has just ended
            running = runs(lab, host)
    return Machine(host.name, host.addresses, plugged.get(key, False), running, fault)


def _ask_server(lab: Lab, host: Host, method: str, order: str) -> str:
    """Ask a server's program something, from its own host, and return the answer."""
    service = _way_to_tell(lab.topology, host)
    if service is None:
        raise LabError(f"{host.name} speaks neither HTTP nor HTTPS: it cannot be told anything")
    url = f"{service.kind}://{endpoint(host.ips[0], service.port)}{order}"
    # The lab's certificate is of its own making.
    argv = ["curl", "-sSfk", "--max-time", "5", "-X", method, url]
    return lab.exec(host.name, argv, check=True).stdout


def _way_to_tell(topology: Topology, host: Host) -> Service | None:
    kinds = {"http": 0, "https": 1}
    ways = [each for each in topology.host(host.name).services if each.kind in kinds]
    return min(ways, key=lambda each: kinds[each.kind], default=None)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
