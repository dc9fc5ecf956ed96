"""The recordings that come with lb-switch: small things that happen in a lab, told by its switch.

    python -m netns_lab.recordings FOLDER [NAME...]

Each is a lab of its own, and some requests; what the switch tells goes to FOLDER/NAME.jsonl.  Needs
root.  Times, ports and sequence numbers are others each time, what happens is the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netns_lab import acts, names
from netns_lab.attack.sender import Plan, as_json
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.programs import module
from netns_lab.scenarios import scenery
from netns_lab.topologies import NARROW, ONE_ARM
from netns_lab.topology import Topology, with_health

PAUSE = 0.7
"""Seconds between two things that happen: long enough to be told apart."""
PATIENCE = 20.0
FLOOD = 60
"""SYNs of the flood."""


class Recording(NamedTuple):
    """One of them: its lab, and what happens in it."""

    topology: Topology
    play: Callable[[Lab], None]
    options: dict[str, Any] = {}  # noqa: RUF012 - of Lab; nobody changes it


def transfer(lab: Lab) -> None:
    """Two requests, and a page of some kilobytes."""
    _ask(lab, "c1")
    _ask(lab, "c2")
    lab.client("c1", "transfer", _url(lab), "--bytes", "12000", "--only", "download")


def failover(lab: Lab) -> None:
    """A server dies, is found out, leaves its group, and comes back."""
    _ask(lab, "c1", 3)
    acts.kill(lab, "s2")
    _ask(lab, "c2", 3, fails=True)
    _await_health(lab, "s2", "down")
    _ask(lab, "c1", 3)
    acts.start(lab, "s2")
    _await_health(lab, "s2", "up")
    _ask(lab, "c2", 3)


def drain(lab: Lab) -> None:
    """A server is drained while a download from it goes on, and then put to work again."""
    argv = ["curl", "-sS", "-o", "/dev/null", f"{_url(lab)}bytes/90000?rate=30000"]
    download = lab.popen("c1", argv)
    time.sleep(PAUSE)
    _operate(lab, "set", "web", "s1", "--state", "drain")
    _ask(lab, "c2", 3)
    if download.wait(PATIENCE) != 0:
        raise LabError("the download was broken off")
    _operate(lab, "set", "web", "s1", "--state", "ready")
    _ask(lab, "c2", 3)


def one_arm(lab: Lab) -> None:
    """Clients and servers in one subnet: the switch puts its own address for the client's."""
    _ask(lab, "c1")
    _ask(lab, "c2")
    _ask(lab, "c1", of="udp-echo")


def path_mtu(lab: Lab) -> None:
    """A narrow link: the router's ICMP error goes back through the NAT, and data gets smaller."""
    lab.client("c2", "transfer", _url(lab, "near-web"), "--bytes", "9000", "--only", "download")


def syn_flood(lab: Lab) -> None:
    """A flood from forged addresses fills the table; real clients are served all the same."""
    _ask(lab, "c1")
    # The way back to the forged addresses: without one the kernel drops what comes from there.
    route = ["ip", "route", "add", "198.0.0.0/8", "via", "10.0.1.12"]
    lab.exec("switch", route, check=True)
    link = lab.exec("switch", ["cat", "/sys/class/net/clients/address"], check=True)
    target: dict[str, str | int | list[str]] = {
        "vip": scenery.VIP,
        "tcp": 80,
        "udp": 80,
        "void": 81,
        "real_servers": ["10.0.2.11"],
        "replies_to": "",
        "forged": "c6",  # 198.0.0.0/8
        "client": "10.0.1.12",
    }
    plan = Plan(link.stdout.strip(), FLOOD, 40.0, kind="syn", target=target)
    lab.exec("c2", module("netns_lab.attack.sender"), input=as_json(plan), check=True)
    _ask(lab, "c1", 2)


RECORDINGS = {
    "transfer": Recording(scenery.topology("transfer", "", scenery.web()), transfer),
    "failover": Recording(
        scenery.topology("failover", "", scenery.web(check="http")),
        failover,
        {"check_interval": 0.5},
    ),
    "drain": Recording(scenery.topology("drain", "", scenery.web()), drain),
    "one-arm": Recording(with_health(ONE_ARM, "none"), one_arm),
    "path-mtu": Recording(with_health(NARROW, "none"), path_mtu),
    "syn-flood": Recording(
        scenery.topology("syn-flood", "", scenery.web()),
        syn_flood,
        {"switch_options": {"max_connections": 40}},
    ),
}


def make(name: str, target: Path) -> None:
    """Make one of them.  Raises LabError."""
    recording = RECORDINGS[name]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.jsonl"
        options = recording.options | {"run_options": ["--record", str(told)]}
        with Lab(recording.topology, **options) as lab:
            time.sleep(PAUSE)
            recording.play(lab)
            time.sleep(PAUSE)
            lab.stop_switch()
        target.write_bytes(told.read_bytes())


def _url(lab: Lab, of: str = "web") -> str:
    return names.url(lab.topology, names.virtual_server(lab.topology, of))


def _ask(lab: Lab, client: str, count: int = 1, *, of: str = "web", fails: bool = False) -> None:
    """Make requests, one after the other.  Raises LabError if one fails that should not."""
    for _ in range(count):
        answers = acts.request_some(lab, client, _url(lab, of), 1)
        if answers.errors and not fails:
            raise LabError("; ".join(answers.lines))
        time.sleep(PAUSE / 4)
    time.sleep(PAUSE)


def _operate(lab: Lab, *arguments: str) -> None:
    result = lab.cli(*arguments)
    if result.returncode:
        raise LabError(result.stderr.strip())


def _await_health(lab: Lab, name: str, state: str) -> None:
    """Wait until a server counts as up, or down."""
    address = lab.topology.host(name).addresses[0]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for line in lab.cli("show", "health").stdout.splitlines():
            if address in line and f" {state} " in f"{line} ":
                return
        time.sleep(0.1)
    raise LabError(f"{name} is not {state} after {PATIENCE:g} s")


def main(arguments: Sequence[str]) -> None:
    """Make all of them, or those that are named."""
    folder, *wanted = arguments
    for name in wanted or RECORDINGS:
        make(name, Path(folder) / f"{name}.jsonl")


if __name__ == "__main__":
    main(sys.argv[1:])
