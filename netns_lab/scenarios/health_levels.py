"""`health-levels`: three ways to ask whether a server is well, and what each of them overlooks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from netns_lab.scenarios import scenery
from netns_lab.scenarios.expectations import Expectation, exactly
from netns_lab.scenarios.health_watch import HealthWatch, Standing
from netns_lab.scenarios.stage import Stage, SurpriseError
from netns_lab.topologies import SWITCH, VirtualServer

NAME = "health-levels"
SUMMARY = "what checks by icmp, tcp and http notice, and what they miss"

Kind = Literal["icmp", "tcp", "http"]
KINDS: tuple[Kind, ...] = ("icmp", "tcp", "http")
GROUP = ("s1", "s2")
TOPOLOGY = scenery.topology(
    NAME,
    SUMMARY,
    *(
        VirtualServer(kind, f"10.0.1.10{number}", 80, GROUP, check=kind)
        for number, kind in enumerate(KINDS, 1)
    ),
)
CLIENTS = dict(zip(KINDS, ("c1", "c2", "c3"), strict=True))
"""One for each virtual server: all share the real servers, and no two connections are alike."""

VICTIM = "s1"
CHECK_INTERVAL = 0.5
OBSERVED = 2 * CHECK_INTERVAL + 1.0 + 0.5
"""Seconds: `fall` intervals, a timeout and a margin.  What has noticed nothing by then will not."""
REQUESTS = 6


class Fault(NamedTuple):
    """A way to fail, who is expected to notice, and what is to be said about it."""

    name: str
    noticed_by: tuple[Kind, ...]
    about: str


FAULTS = (
    Fault(
        "host gone",
        ("icmp", "tcp", "http"),
        f"""The cable of {VICTIM} is pulled: its port on the switch goes down. Nothing answers any
        more.""",
    ),
    Fault(
        "program gone",
        ("tcp", "http"),
        f"""The web server program on {VICTIM} is killed. The host is up, and its kernel answers
        pings; but nobody listens on port 80.""",
    ),
    Fault(
        "answers 500",
        ("http",),
        f"""The program on {VICTIM} runs, and accepts connections; but each answer is "500 Internal
        Server Error" (a database is gone, say).""",
    ),
)

Matrix = dict[str, dict[Kind, str]]
"""By fault and kind of check: what was seen."""


def tell(stage: Stage) -> list[Expectation]:
    """Tell the story of a lab that is up.  Raises LabError, SurpriseError."""
    narrator = stage.narrator
    narrator.chapter("Three ways to ask whether a server is well")
    narrator.say(
        """icmp: is the host there? (A ping.) tcp: does a program accept connections on the port?
        http: does it give the right answer to a request? The same two real servers, s1 and s2,
        stand behind three virtual IPs, which differ in nothing but the check. Each is used by a
        client of its own."""
    )
    narrator.block(
        f"{each.endpoint:<15} checked by {each.check:<5} {' or '.join(each.real_servers)}"
        for each in stage.lab.topology.virtual_servers
    )
    health_seen: Matrix = {}
    failed_seen: Matrix = {}
    with HealthWatch(stage.lab) as health:
        health.await_all_up()
        for fault in FAULTS:
            narrator.chapter(f"{fault.name.capitalize()}")
            narrator.say(fault.about)
            failed_at = time.monotonic()
            with _faulty(stage, fault.name):
                standings = _observe(stage, health)
                failed = _ask(stage)
            narrator.block(_line(kind, standings[kind], failed[kind], failed_at) for kind in KINDS)
            health_seen[fault.name] = {kind: standings[kind].state for kind in KINDS}
            failed_seen[fault.name] = failed
            health.await_all_up()
            narrator.say("Repaired; all three checks say up again.")
    narrator.chapter("Who notices what")
    narrator.block(matrix_lines(health_seen))
    narrator.say(
        """A check sees its own level and what is below. The deeper it asks, the more it notices,
        and the more it costs the server. What a check overlooks, users get to see: half of their
        requests go to a server that fails."""
    )
    return judge(health_seen, failed_seen)


@contextlib.contextmanager
def _faulty(stage: Stage, fault: str) -> Iterator[None]:
    """Break the victim, then repair it."""
    lab = stage.lab
    link = ["ip", "link", "set", f"to-{VICTIM}"]
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "host gone": (
            lambda: lab.exec(SWITCH, [*link, "down"], check=True),
            lambda: lab.exec(SWITCH, [*link, "up"], check=True),
        ),
        "program gone": (
            lambda: lab.kill_server(VICTIM),
            lambda: lab.start_server(VICTIM),
        ),
        "answers 500": (
            lambda: stage.tell_server(VICTIM, "/fault?status=500"),
            lambda: stage.tell_server(VICTIM, "/fault?status=200"),
        ),
    }
    break_it, repair_it = ways[fault]
    break_it()
    yield
    repair_it()


def _observe(stage: Stage, health: HealthWatch) -> dict[Kind, Standing]:
    """Return what each check says once it has had the time to notice."""
    end = time.monotonic() + OBSERVED
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
    seen: dict[Kind, Standing] = {}
    for kind in KINDS:
        address = stage.real_server(_virtual_server(stage, kind), VICTIM)
        standing = health.standing(kind, address)
        if standing is None:
            raise SurpriseError(f"the switch does not check {address} for {kind}")
        seen[kind] = standing
    return seen


def _ask(stage: Stage) -> dict[Kind, str]:
    """Return how many of a client's requests fail, by virtual server."""
    failed: dict[Kind, str] = {}
    for kind in KINDS:
        url = f"http://{_virtual_server(stage, kind).endpoint}/"
        result = stage.lab.client(CLIENTS[kind], "requests", url, "-n", str(REQUESTS))
        failed[kind] = str(len(result["errors"]))
    return failed


def _virtual_server(stage: Stage, kind: Kind) -> VirtualServer:
    return next(each for each in stage.lab.topology.virtual_servers if each.name == kind)


def _line(kind: Kind, standing: Standing, failed: str, failed_at: float) -> str:
    says = standing.state
    if says == "down":
        says += f" after {standing.since - failed_at:.1f} s: {standing.cause}"
    return f"{kind:<5} {VICTIM} is {says:<44} failed: {failed} of {REQUESTS}"


def matrix_lines(seen: Matrix) -> list[str]:
    """Return what was seen as a table: a line for each fault, a column for each kind of check."""
    heading = f"{'':<14}" + "".join(f"{kind:<8}" for kind in KINDS)
    rows = [
        f"{fault:<14}" + "".join(f"{states[kind]:<8}" for kind in KINDS)
        for fault, states in seen.items()
    ]
    return [line.rstrip() for line in (heading, *rows)]


def judge(health: Matrix, failed: Matrix) -> list[Expectation]:
    """Return what was seen against the three differences that there should be.  Pure."""
    expectations = []
    for fault in FAULTS:
        states = ["down" if kind in fault.noticed_by else "up" for kind in KINDS]
        expectations.append(
            exactly(f"{fault.name}: {', '.join(KINDS)} say", _joined(states), _row(health, fault))
        )
    for fault in FAULTS:
        counts = ["0" if kind in fault.noticed_by else str(REQUESTS // 2) for kind in KINDS]
        expectations.append(
            exactly(
                f"{fault.name}: failed, of {REQUESTS} each", _joined(counts), _row(failed, fault)
            )
        )
    return expectations


def _row(matrix: Matrix, fault: Fault) -> str:
    seen = matrix.get(fault.name, {})
    return _joined([seen.get(kind, "nothing") for kind in KINDS])


def _joined(cells: list[str]) -> str:
    return " ".join(cells)
