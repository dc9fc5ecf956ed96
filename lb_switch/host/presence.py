"""What of the switch's own is on the host, and what is missing of it.

After a change of the host the switch's part of it is read back, as the programs print it; whatever
of these lines is missing later has been taken away by somebody, or by the kernel along with an
interface or an address.  So nothing has to know how the kernel prints a rule.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lb_switch.host.error import HostError
from lb_switch.host.run import run, run_all
from lb_switch.host.steps import FilterChain, HostChange, Step, Sysctl
from lb_switch.host.view import PROTOCOL

_SYSCTLS = Path("/proc/sys")
_SOURCES = {"neigh": "proxy neighbour"}


class Line(NamedTuple):
    """A line of what a program prints of the switch's own.  source: `rule`, `route` and so on."""

    source: str
    text: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.source} {self.text}"


Lines = frozenset[Line]


TOLD = frozenset({"rule", "route"})
"""Sources whose changes rtnetlink tells of: without news there is nothing to look for."""


def read(steps: Sequence[Step], *, told: bool = True) -> Lines:
    """Return the lines of these steps that are on the host; those of TOLD only with `told`.

    Raises HostError.
    """
    lines: set[Line] = set()
    for step in steps:
        if isinstance(step, Sysctl) and is_set(step):
            lines.add(sysctl_line(step))
    families = _families(steps)
    for family in families if told else ():
        lines |= _marked("rule", _ip(family, "rule", "show"), f"proto {PROTOCOL}")
        routes = _ip(family, "route", "show", "table", "all", "proto", PROTOCOL)
        lines |= {Line("route", _stable(line)) for line in routes}
    if families:
        # Only as a number does `ip` print who has made these.
        lines |= _marked(
            "proxy neighbour", _ip("-N", "neigh", "show", "proxy"), f"proto {PROTOCOL}"
        )
    for program in sorted({step.program for step in steps if isinstance(step, FilterChain)}):
        names = {step.name for step in steps if isinstance(step, FilterChain)}
        lines |= set(_chains(program, names))
    return frozenset(lines)


def put_back(steps: Sequence[Step], missing: Iterable[Line]) -> None:
    """Do again what is missing, as far as it can be done now."""
    missing = frozenset(missing)
    sources = {line.source for line in missing}
    for step in steps:
        with contextlib.suppress(OSError, HostError):
            if isinstance(step, Sysctl) and sysctl_line(step) in missing:
                (_SYSCTLS / step.path).write_text(step.value)
            elif isinstance(step, FilterChain) and step.program in sources:
                ours = [line.text for line in missing if line.source == step.program]
                jump = f"-A {step.built_in} -j {step.name}"
                if any(step.name in text for text in ours):
                    run(step.do, step.content(jump=any(text.endswith(jump) for text in ours)))
    # What is there already is refused, and that is all.  The device itself is left alone where no
    # route is missing: to set it up again would look like news of an interface.
    commands = [
        step.do
        for step in steps
        if isinstance(step, HostChange)
        and ("route" in sources or not step.slot.startswith("device "))
    ]
    if sources & {"rule", "route", "proxy neighbour"}:
        run_all(commands, force=True)


def ensure(steps: Sequence[Step]) -> tuple[Lines, Lines]:
    """Do again whatever is not there of these steps.

    Return the lines that are to be there, and those that had to be put back.  Of what cannot be
    done now (its interface is down), nothing is known that could be missed.
    """
    before = read(steps)
    run_all([step.do for step in steps if isinstance(step, HostChange)], force=True)
    after = there = read(steps)
    for step in steps:
        if isinstance(step, FilterChain):
            jump = Line(step.program, f"{step.table} -A {step.built_in} -j {step.name}")
            rules = sum(
                line.source == step.program
                and line.text.startswith(f"{step.table} -A {step.name} ")
                for line in there
            )
            if jump not in there or rules != len(step.rules):
                with contextlib.suppress(HostError):
                    run(step.do, step.content(jump=jump not in there))
                    after = read(steps)
    return after | {sysctl_line(each) for each in steps if isinstance(each, Sysctl)}, after - before


def is_complete(lines: Iterable[Line], steps: Sequence[Step]) -> bool:
    """Whether there are as many lines of each source as these steps make."""
    counts = Counter(line.source for line in lines)
    expected: Counter[str] = Counter()
    for step in steps:
        if isinstance(step, FilterChain):
            expected[step.program] += len(step.rules) + 2  # the chain itself, and the jump to it
        elif isinstance(step, HostChange):
            kind = next((each for each in ("rule", "route", "neigh") if each in step.do[1:3]), "")
            expected[_SOURCES.get(kind, kind)] += 1
    return all(counts[source] >= count for source, count in expected.items() if source)


def sysctl_line(step: Sysctl) -> Line:
    """Return the line of a kernel parameter."""
    return Line("sysctl", f"{step.path.replace('/', '.')} = {step.value}")


def is_set(step: Sysctl) -> bool:
    """Whether a kernel parameter has our value, or another one that we would not touch."""
    try:
        value = (_SYSCTLS / step.path).read_text().strip()
    except OSError:
        return True  # it went with its interface
    return value == step.value or bool(step.only_from and value != step.only_from)


def _families(steps: Iterable[Step]) -> list[str]:
    found = {
        option
        for step in steps
        if isinstance(step, HostChange)
        for option in step.do[1:2]
        if option in {"-4", "-6"}
    }
    neighbours = any(isinstance(step, HostChange) and "neigh" in step.do for step in steps)
    return sorted(found) or (["-4"] if neighbours else [])


def _ip(option: str, *arguments: str) -> list[str]:
    printed = run(("ip", option, *arguments))
    return [line.strip() for line in printed.splitlines() if line.strip()]


def _marked(source: str, lines: Iterable[str], mark: str) -> set[Line]:
    return {Line(source, _stable(line)) for line in lines if mark in line}


def _stable(line: str) -> str:
    """Return the line without what changes by itself: flags of an interface's state."""
    words = [word for word in line.split() if word not in {"linkdown", "dead", "[detached]"}]
    return " ".join(words)


def _chains(program: str, names: set[str]) -> Iterator[Line]:
    table = ""
    for line in run((f"{program}-save",)).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line[1:].split()[0] in names:
            yield Line(program, f"{table} :{line[1:].split()[0]}")
        elif line.startswith("-A") and names & set(line.split()):
            yield Line(program, f"{table} {line}")
