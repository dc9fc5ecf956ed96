"""Run the engine's benchmarks one by one, each in a process of its own; show what came out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lb_switch import interpreter

BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        "packets": "packets.run",
        "memory": "memory.run",
        "lookup": "lookup.run",
        "growth": "growth.run",
        "flood": "growth.run_flood",
        "expiry": "expiry.run",
    }
)
"""Name, and where its function is in this package."""

JSON = "engine.json"
_ROOT = Path(__file__).resolve().parents[2]

Results = Mapping[str, Any]
ReportRow = tuple[str, ...]


class BenchmarkError(Exception):
    """A benchmark ended without a result; `str` is one clear line."""


@dataclass(frozen=True)
class Goal:
    """A figure that is to stay on one side of a bound.  path: where it is in the results."""

    text: str
    path: tuple[str, ...]
    bound: float
    at_least: bool = False

    def value(self, results: Results) -> float | None:
        """The figure; None if its benchmark was not run."""
        found: Any = results
        for key in self.path:
            if key not in found:
                return None
            found = found[key]
        return float(found)

    def met(self, value: float) -> bool:
        """Whether the figure is on the right side."""
        return value >= self.bound if self.at_least else value <= self.bound


# Of the thread's own time: what others did meanwhile is no property of the engine.
_LONGEST = "longest packet {}, ms of CPU"

GOALS = (
    Goal(
        "scapy's parse, edit, rebuild, in established packets",
        ("packets", "scapy: parse, edit, rebuild", "ratio"),
        100,
        at_least=True,
    ),
    Goal(
        "a new connection, in established packets",
        ("packets", "new connection, TCP over IPv4", "ratio"),
        10,
    ),
    Goal("memory, bytes per connection", ("memory", "bytes_per_connection"), 450),
    Goal("packet in a large table, in packets in a small one", ("lookup", "ratio"), 1.5),
    Goal(_LONGEST.format("while growing"), ("growth", "packets", "worst_cpu_ms"), 5),
    Goal(_LONGEST.format("while growing by SYNs"), ("flood", "packets", "worst_cpu_ms"), 5),
    Goal("longest delay while expiring, ms of CPU", ("expiry", "delays", "worst_cpu_ms"), 5),
)


def run(names: Sequence[str], *, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run these (none: all) and return their results by name, with what they depend on.

    Raises LookupError for a name that does not exist, BenchmarkError if one fails.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise LookupError(f"no benchmark {name!r}: {', '.join(BENCHMARKS)}")
    results: dict[str, Any] = {
        "environment": {
            "kernel": platform.release(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "load": os.getloadavg()[0],
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "quick": quick,
        }
    }
    chosen = [name for name in BENCHMARKS if not names or name in names]
    for number, name in enumerate(chosen, 1):
        say(f"[{number}/{len(chosen)}] {name} ...")
        begin = time.monotonic()
        results[name] = _in_a_process(name, quick)
        say(f"[{number}/{len(chosen)}] {name}: {time.monotonic() - begin:.0f} s")
    return results


def _in_a_process(name: str, quick: bool) -> Any:
    path = [str(_ROOT), *filter(None, [interpreter.absolute(os.environ.get("PYTHONPATH", ""))])]
    command = interpreter.module("lb_switch.bench", name, *(["--quick"] if quick else []))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path)),
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchmarkError(f"{name}: {words[-1]}")
    return json.loads(done.stdout)


def text(results: Results) -> str:
    """The results as tables for people."""
    lines: list[str] = []
    rows: list[ReportRow]
    if "packets" in results:
        rows = [("packet", "µs", "least", "packets/s", "in established packets")]
        rows += [
            (
                kind,
                f"{each['us']:.2f}",
                f"{each['least_us']:.2f}",
                f"{each['packets_per_second']:,}",
                f"{each['ratio']:.2f}",
            )
            for kind, each in results["packets"].items()
        ]
        lines += [*_table(rows), ""]
    if "memory" in results:
        rows = [("bytes per connection, allocated at", "")]
        rows += [
            (place, f"{each:.1f}") for place, each in results["memory"]["allocated_at"].items()
        ]
        lines += [*_table(rows), ""]
    rows = [("longest times, ms", "wall", "CPU", "control's wall", "control's CPU", "over 5 ms")]
    for name, part, what in (
        ("growth", "packets", "packet while growing"),
        ("growth", "pauses", "pause for timers, collector"),
        ("flood", "packets", "packet while growing by SYNs"),
        ("flood", "pauses", "pause for timers, collector"),
        ("expiry", "delays", "delay while expiring"),
    ):
        if name in results:
            rows.append(_longest(what, results[name][part], results[name]["control"]))
    if len(rows) > 1:
        lines += [*_table(rows), ""]
    rows = [("goal", "value", "bound", "")]
    for goal in GOALS:
        value = goal.value(results)
        if value is not None:
            sign = "at least" if goal.at_least else "at most"
            verdict = "met" if goal.met(value) else "MISSED"
            rows.append((goal.text, f"{value:.2f}", f"{sign} {goal.bound:g}", verdict))
    return "\n".join([*lines, *_table(rows)]) + "\n"


def _longest(what: str, times: Mapping[str, Any], control: Mapping[str, Any]) -> ReportRow:
    return (
        what,
        f"{times['worst_ms']:.2f}",
        f"{times['worst_cpu_ms']:.2f}",
        f"{control['worst_ms']:.2f}",
        f"{control['worst_cpu_ms']:.2f}",
        f"{times['over_5_ms']} of {times['count']:,} (control: {control['over_5_ms']})",
    )


def _table(rows: Sequence[ReportRow]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([first, *rest]).rstrip()
