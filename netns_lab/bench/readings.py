"""The output of wrk, iperf3 and the UDP client as numbers.  Pure.

Units: seconds, bytes, bits per second; the figures' own units are made here and nowhere else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from netns_lab.bench.measures import Measure


class ReadingError(Exception):
    """The program's output is not what it should be; `str` is one clear line."""


@dataclass(frozen=True)
class Reading:
    """What one run of a client program gave.

    figures   by name, in the figures' own units
    amount    what was moved, to share the balancer's CPU time out over: bytes or requests
    troubles  lines that cast doubt on it (socket errors, lost datagrams)
    """

    figures: dict[str, float]
    amount: float
    troubles: list[str] = field(default_factory=list)


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PERCENTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)\s*$", re.MULTILINE)
_TROUBLE = re.compile(r"^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$", re.MULTILINE)


def wrk(output: str, measure: Measure) -> Reading:
    """Read `wrk --latency`.  Raises ReadingError."""
    total, rate = _TOTAL.search(output), _RATE.search(output)
    if total is None or rate is None:
        raise ReadingError(f"wrk: no total in its output: {_last_line(output)}")
    requests = int(total[1])
    if not requests:
        raise ReadingError("wrk: not one request was answered")
    troubles = [match[1].strip() for match in _TROUBLE.finditer(output)]
    figures: dict[str, float] = {}
    for figure in measure.figures:
        if figure.name in {"requests", "connections"}:
            figures[figure.name] = float(rate[1]) / 1000
    if measure.name == "latency":
        percentiles = {m[1]: float(m[2]) * _UNITS[m[3]] for m in _PERCENTILE.finditer(output)}
        if set(percentiles) != {"50", "99"}:
            raise ReadingError("wrk: no latency distribution in its output")
        figures["latency"] = percentiles["50"] * 1e6
        figures["latency99"] = percentiles["99"] * 1e6
    return Reading(figures, requests, troubles)


def iperf3(output: str, measure: Measure) -> Reading:
    """Read `iperf3 --json`: what the server received.  Raises ReadingError."""
    try:
        report = json.loads(output)
    except ValueError:
        raise ReadingError(f"iperf3: {_last_line(output)}") from None
    if "error" in report:
        raise ReadingError(f"iperf3: {report['error']}")
    received = report["end"]["sum_received"]
    if not received["bytes"]:
        raise ReadingError("iperf3: nothing arrived")
    return Reading({measure.name: received["bits_per_second"] / 1e9}, received["bytes"])


def udp(output: str, measure: Measure) -> Reading:
    """Read `netns_lab.bench.udp client`.  Raises ReadingError."""
    try:
        report = json.loads(output)
    except ValueError:
        raise ReadingError(f"udp: {_last_line(output)}") from None
    answered, lost = report["answered"], report["lost"]
    if not answered:
        raise ReadingError("udp: not one datagram came back")
    troubles = [f"{lost} of {answered + lost} datagrams were lost"] if lost else []
    return Reading({measure.name: answered / report["seconds"] / 1000}, answered, troubles)


def read(measure: Measure, output: str, cpu_seconds: float | None) -> Reading:
    """Read what the measure's program printed.  cpu_seconds: the balancer's; None: unknown."""
    reading = {"wrk": wrk, "iperf3": iperf3, "udp": udp}[measure.program](output, measure)
    if cpu_seconds is not None:
        for figure in measure.figures:
            if figure.name == "cpu_gb":
                reading.figures[figure.name] = cpu_seconds / (reading.amount / 1e9)
            elif figure.name == "cpu_requests":
                reading.figures[figure.name] = cpu_seconds / reading.amount * 1000 * 1000
    return reading


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
