"""What can be seen of the switch in a lab: its table, its counters, its memory, its queue."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from pathlib import Path
from typing import Any

from netns_lab.attack.report import SHORTENED
from netns_lab.attack.topology import TCP_PORT
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.topologies import SWITCH

ESTABLISHED = 900.0
"""Seconds of silence that an established connection may keep: the default, which the lab leaves."""
_TIMEOUT = 60.0


class Lookout:
    """Watches the running switch of a lab.  pid: its process.  All raise LabError."""

    def __init__(self, lab: Lab, pid: int) -> None:
        self._lab = lab
        self._pid = pid

    # --- what the switch says --------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """What `show stats --json` says."""
        stats: dict[str, Any] = json.loads(self._asked("stats"))
        return stats

    def connections(self, client: str) -> list[dict[str, Any]]:
        """The TCP connections of this address, as `show connections --json` has them."""
        rows = json.loads(self._asked("connections"))
        return [
            row for row in rows if row["protocol"] == "tcp" and endpoint(row["source"])[0] == client
        ]

    def states(self, client: str, idle: set[int], silence: float) -> tuple[dict[str, int], int]:
        """States of the client's connections, and how many have less time left than they should.

        idle: ports of those that have said nothing for `silence` seconds at the most.
        """
        states: Counter[str] = Counter()
        shortened = 0
        for row in self.connections(client):
            states[row["state"]] += 1
            quiet = silence if endpoint(row["source"])[1] in idle else 0.0
            shortened += row["expire"] < ESTABLISHED - quiet - SHORTENED
        return dict(states), shortened

    def _asked(self, what: str) -> str:
        result = self._lab.cli("show", what, "--json", timeout=_TIMEOUT)
        if result.returncode:
            raise LabError(f"show {what}: {result.stderr.strip()}")
        return result.stdout

    # --- what the kernel says of it --------------------------------------------------------------

    def memory(self, name: str) -> int:
        """Bytes, by the name in /proc/PID/status: VmRSS, or VmHWM, the most that was."""
        for line in self._proc("status").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LabError("the switch ended during the attack")

    def processor_time(self) -> tuple[float, float]:
        """Seconds that it has run, and that it was ready to and waited for a processor."""
        used, waited, _ = self._proc("schedstat").split()
        return int(used) / 1e9, int(waited) / 1e9

    def _proc(self, file: str) -> str:
        try:
            return Path(f"/proc/{self._pid}/{file}").read_text(encoding="utf-8")
        except OSError:
            raise LabError("the switch ended during the attack") from None

    def lost(self, capture: str) -> int:
        """Packets that the kernel has dropped because they were not fetched in time."""
        if capture == "tun":
            return int(self.on_switch("cat", "/sys/class/net/lbtun/statistics/tx_dropped"))
        rows = self.on_switch("cat", "/proc/net/netfilter/nfnetlink_queue").splitlines()
        # queue, pid, waiting, copy mode, range, dropped by the queue, dropped by the socket, ...
        return sum(int(row.split()[5]) + int(row.split()[6]) for row in rows)

    def mac(self, link: str) -> str:
        """The switch's address on a segment."""
        return self.on_switch("cat", f"/sys/class/net/{link}/address").strip()

    def on_switch(self, *command: str) -> str:
        """What a command says on the switch's host."""
        return self._lab.exec(SWITCH, command, check=True).stdout

    # --- what a real server says -----------------------------------------------------------------

    def peers_of(self, host: str, family: int) -> list[int]:
        """The ports from which a real server's connections seem to come."""
        table = "tcp" if family == 4 else "tcp6"
        lines = self._lab.exec(host, ["cat", f"/proc/net/{table}"]).stdout.splitlines()[1:]
        fields = [line.split() for line in lines]
        return [
            int(each[2].rpartition(":")[2], 16)
            for each in fields
            if each[1].endswith(f":{TCP_PORT:04X}") and each[3] == "01"
        ]


def active(stats: dict[str, Any]) -> int:
    """The real servers' active connections."""
    return sum(
        server["active"] for group in stats["virtual_servers"] for server in group["real_servers"]
    )


def endpoint(text: str) -> tuple[str, int]:
    """`[2001:db8::1]:7` -> address and port."""
    host, _, port = text.rpartition(":")
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)
