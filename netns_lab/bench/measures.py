"""What is measured, and with which program.  Pure.

A *measure* is one run of a client program; a *figure* is a number it yields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from netns_lab.bench.topology import BULK_PORT, ECHO_PORT, HTTP_PORT

CONNECTIONS = 16
"""Of wrk: keep-alive connections, or new ones under way at a time."""
WINDOW = 64
"""Datagrams under way at a time."""
PAYLOAD = 64
"""Bytes of a datagram."""


@dataclass(frozen=True)
class Figure:
    """A number that is compared.  unit: as shown; higher: whether more is better."""

    name: str
    title: str
    unit: str
    higher: bool
    digits: int = 1


BULK_1 = Figure("bulk1", "bulk TCP, 1 stream", "Gb/s", higher=True, digits=2)
BULK_4 = Figure("bulk4", "bulk TCP, 4 streams", "Gb/s", higher=True, digits=2)
REQUESTS = Figure("requests", f"keep-alive requests, {CONNECTIONS} conns", "k/s", higher=True)
LATENCY = Figure("latency", "latency, median", "µs", higher=False, digits=0)
LATENCY_99 = Figure("latency99", "latency, 99th percentile", "µs", higher=False, digits=0)
NEW = Figure("connections", "new connections", "k/s", higher=True, digits=2)
UDP = Figure("udp", f"UDP echo, {PAYLOAD} bytes", "k/s", higher=True)
CPU_GB = Figure("cpu_gb", "balancer's CPU per GB", "s", higher=False, digits=3)
CPU_REQUESTS = Figure("cpu_requests", "balancer's CPU per 1,000 requests", "ms", higher=False)

FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        each.name: each
        for each in (
            BULK_1, BULK_4, REQUESTS, LATENCY, LATENCY_99, NEW, UDP, CPU_GB, CPU_REQUESTS,
        )
    }
)  # fmt: skip
"""By name, in the order in which they are shown."""

Program = Literal["iperf3", "wrk", "udp"]


@dataclass(frozen=True)
class Measure:
    """One run of a client program.  figures: what it yields, where it can."""

    name: str
    program: Program
    figures: tuple[Figure, ...]
    streams: int = 1
    connections: int = 1
    close: bool = False

    def command(self, target: str, seconds: int) -> list[str]:
        """The client's command line (for `udp`: the arguments of `netns_lab.bench.udp`)."""
        if self.program == "iperf3":
            return ["iperf3", "--client", target, "--port", str(BULK_PORT), "--json",
                    "--parallel", str(self.streams), "--time", str(seconds)]  # fmt: skip
        if self.program == "udp":
            return ["client", f"{target}:{ECHO_PORT}", "--seconds", str(seconds),
                    "--window", str(WINDOW), "--payload", str(PAYLOAD)]  # fmt: skip
        close = ["--header", "Connection: close"] if self.close else []
        return ["wrk", "--threads", "1", "--connections", str(self.connections), "--latency",
                "--duration", f"{seconds}s", *close,
                f"http://{target}:{HTTP_PORT}/"]  # fmt: skip


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        each.name: each
        for each in (
            Measure("bulk1", "iperf3", (BULK_1, CPU_GB)),
            Measure("bulk4", "iperf3", (BULK_4,), streams=4),
            Measure("requests", "wrk", (REQUESTS, CPU_REQUESTS), connections=CONNECTIONS),
            Measure("latency", "wrk", (LATENCY, LATENCY_99)),
            Measure("connections", "wrk", (NEW,), connections=CONNECTIONS, close=True),
            Measure("udp", "udp", (UDP,)),
        )
    }
)
"""By name, in the order in which they run: the one that leaves TIME_WAIT behind is near the end."""

PROGRAMS: Mapping[str, str] = MappingProxyType(
    {"iperf3": "iperf3", "wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy",
     "iptables": "iptables", "iptables-restore": "iptables"}
)  # fmt: skip
"""A program, and the Debian package that brings it."""


def needed_programs(measures: tuple[Measure, ...]) -> set[str]:
    """What must be on the machine for these, whoever takes part."""
    needed = {"iperf3": {"iperf3"}, "wrk": {"wrk", "nginx"}, "udp": set()}
    # nginx serves always: a first request shows that the contestant is up.
    return {"nginx", "wrk"}.union(*(needed[each.program] for each in measures))
