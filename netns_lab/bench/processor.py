"""CPU time: of a process with its children, and of the whole machine (proc(5))."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def stat_fields(text: str) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: the name may hold anything."""
    return text.rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and all its live descendants; 0 if it is gone.

    The resolution is the clock tick's, 10 ms nearly everywhere.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = stat_fields((entry / "stat").read_text(errors="replace"))
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    family = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in family} - family
        if not more:
            return sum(ticks.get(member, 0) for member in family) * _TICK
        family |= more


@dataclass(frozen=True)
class MachineTime:
    """Seconds of all processors together since boot, by what they did.

    idle: including waiting for discs; steal: taken away by the hypervisor for other machines.
    """

    busy: float
    idle: float
    steal: float

    def since(self, earlier: MachineTime) -> MachineTime:
        """What came between."""
        return MachineTime(
            self.busy - earlier.busy, self.idle - earlier.idle, self.steal - earlier.steal
        )

    @property
    def busy_share(self) -> float:
        """Part of the time that was not idle, 0 to 1."""
        total = self.busy + self.idle + self.steal
        return (self.busy + self.steal) / total if total else 0.0


def parse_machine_time(text: str) -> MachineTime:
    """Read the first line of /proc/stat."""
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(field) * _TICK for field in text.split("\n", 1)[0].split()[1:9]
    )
    return MachineTime(user + nice + system + irq + softirq, idle + iowait, steal)


def machine_time() -> MachineTime:
    """The machine's, now."""
    return parse_machine_time((_PROC / "stat").read_text(encoding="ascii"))


def busy_share(seconds: float) -> float:
    """How busy the machine is while we do nothing for so long: 0 to 1."""
    before = machine_time()
    time.sleep(seconds)
    return machine_time().since(before).busy_share
