"""A fresh lab for one attack: honest traffic, the attack, what became of both, and its removal."""

from __future__ import annotations

import ipaddress
import json
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from netns_lab.attack import sender
from netns_lab.attack.programs import Program
from netns_lab.attack.report import SHORTENED, Attack, Outcome
from netns_lab.attack.sender import Plan
from netns_lab.attack.topology import (
    CLIENT,
    FAR,
    FORGED,
    NEAR,
    SERVERS,
    SNATS,
    TCP_PORT,
    UDP_PORT,
    VIPS,
    VOID_PORT,
    topology,
)
from netns_lab.bench import processor
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.state import State
from netns_lab.topology import SWITCH

READY = 60.0
"""Seconds until programs that are not ready count as failed."""
SLACK = 120.0
"""Seconds that an attack may take beyond its time, and the honest program to its end."""
_SETTLE = 1.0

_SETTINGS = (
    "net.ipv4.ip_local_port_range=1024 65535",
    "net.ipv4.tcp_syncookies=1",
    # A host repeats SYN/ACKs to sources that nobody has: once is enough.
    "net.ipv4.tcp_synack_retries=1",
    "net.ipv4.tcp_max_syn_backlog=4096",
    "net.core.somaxconn=4096",
)


class Arena:
    """One attack in a lab of its own, as a context manager.  Raises LabError."""

    def __init__(self, attack: Attack, *, check_invariants: bool = False) -> None:
        self.attack = attack
        self.lab = Lab(
            topology(attack.forward),
            capture=attack.capture,
            switch=False,
            switch_options={"max_connections": attack.max_connections},
            check_invariants=check_invariants,
        )
        self._vip = VIPS[attack.family]
        self._pid = 0

    def __enter__(self) -> Self:
        self.lab.up()
        try:
            self._prepare()
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lab.__exit__(kind, error, traceback)

    def _prepare(self) -> None:
        family = self.attack.family
        for host in (CLIENT, *SERVERS):
            self.lab.exec(host, ["sysctl", "-q", "-w", *_SETTINGS], check=True)
        # Answers to forged sources leave by the clients' side, as they would towards the internet.
        way = ["via", self._address(NEAR)]
        route = ["ip", f"-{family}", "route", "add", FORGED[family][1], *way]
        self.lab.exec(SWITCH, route, check=True)
        servers = []
        for host in SERVERS:
            address = self._address(host)
            servers += [
                Program(self.lab, host, "servers", "tcp", address, str(TCP_PORT)),
                Program(self.lab, host, "servers", "udp", address, str(UDP_PORT), str(VOID_PORT)),
            ]
        for server in servers:
            server.hear(READY)
        self.lab.start_switch()
        state = State.load(self.lab.directory)
        assert state is not None
        assert state.switch is not None
        self._pid = state.switch.pid

    # --- the attack ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Let honest traffic begin, attack, and see what became of it."""
        attack = self.attack
        blind = attack.kind == "blind"
        honest = Program(self.lab, CLIENT, "honest", *self._honest_arguments())
        ports = json.loads(honest.hear(READY))["ready"]
        time.sleep(_SETTLE)
        plans = self._blind_plans() if blind else {NEAR: self._flood_plan()}
        before, lost, memory = self._stats(), self._lost(), self._memory("VmRSS")
        begin = time.monotonic()
        cpu = processor.cpu_seconds(self._pid)
        if not blind:
            honest.say("attack")
        sent = self._attack(plans)
        busy = (processor.cpu_seconds(self._pid) - cpu) / (time.monotonic() - begin)
        silence = time.monotonic() - begin
        if not blind:
            honest.say("over")
            honest.hear(SLACK)
        after = self._stats()
        states, shortened = self._look_at(ports, silence) if blind else ({}, 0)
        honest.say("end", last=True)
        said = json.loads(honest.hear(SLACK))
        if not Path(f"/proc/{self._pid}").exists():
            raise LabError("the switch ended during the attack")
        reasons = {
            name: count - before["packets"].get(name, 0)
            for name, count in after["packets"].items()
            if count != before["packets"].get(name, 0)
        }
        return Outcome(
            sent=sum(int(each["taken"]) for each in sent),
            seconds=max(each["seconds"] for each in sent),
            reached=sum(reasons.values()),
            lost=self._lost() - lost,
            honest=said,
            memory=(memory, self._memory("VmHWM")),
            states=states,
            shortened=shortened,
            active=(_active(before), _active(after)),
            errors=reasons.get("internal_error", 0),
            busy=busy,
            reasons=reasons,
        )

    def _honest_arguments(self) -> list[str]:
        attack = self.attack
        return [
            self._vip,
            *("--tcp", str(TCP_PORT), "--udp", str(UDP_PORT)),
            *("--transfers", str(attack.transfers), "--idle", str(attack.idle)),
            *("--newcomers", str(attack.newcomers)),
        ]

    def _attack(self, plans: dict[str, Plan]) -> list[dict[str, float]]:
        programs = [Program(self.lab, host, "sender") for host in plans]
        for program, plan in zip(programs, plans.values(), strict=True):
            program.say(sender.as_json(plan), last=True)
        slowest = max(plan.packets / (plan.rate or 10_000) for plan in plans.values())
        return [json.loads(program.hear(slowest * 2 + SLACK)) for program in programs]

    def _flood_plan(self) -> Plan:
        attack = self.attack
        return Plan(
            router=self._mac("clients"),
            packets=attack.packets,
            rate=attack.rate,
            kind=attack.kind,
            target={
                "vip": self._vip,
                "tcp": TCP_PORT,
                "udp": UDP_PORT,
                "void": VOID_PORT,
                "real_servers": [self._address(each) for each in SERVERS],
                "replies_to": self._snat,
                "forged": FORGED[attack.family][0],
                "client": self._address(CLIENT),
            },
        )

    def _blind_plans(self) -> dict[str, Plan]:
        """Segments in the names of both ends, from the places that are asked for."""
        attack = self.attack
        answers, asks = [], []
        for row in self._connections():
            source, server = _endpoint(row["source"]), _endpoint(row["destination"])
            asks.append((*source, self._vip, TCP_PORT))
            if not self._snat:
                answers.append((*server, *source))
        if self._snat:
            answers = [
                (self._address(host), TCP_PORT, self._snat, port)
                for host in SERVERS
                for port in self._peers_of(host)
            ]
        near = (asks if "client" in attack.places else []) + (
            answers if "across" in attack.places else []
        )
        far = answers if "link" in attack.places else []
        plans = {}
        for host, link, ends in ((NEAR, "clients", near), (FAR, "servers", far)):
            part = len(ends) / (len(near) + len(far))
            if ends:
                plans[host] = Plan(
                    router=self._mac(link),
                    packets=round(attack.packets * part),
                    rate=attack.rate * part,
                    ends=ends,
                    segments=list(attack.segments),
                    spacing="spaced" if attack.spacing == "spaced" else "random",
                )
        return plans

    # --- what is seen ----------------------------------------------------------------------------

    def _look_at(self, ports: dict[str, list[int]], silence: float) -> tuple[dict[str, int], int]:
        """States of the honest connections, and how many have too little time left."""
        idle = set(ports["idle"])
        states: Counter[str] = Counter()
        shortened = 0
        for row in self._connections():
            states[row["state"]] += 1
            quiet = silence if _endpoint(row["source"])[1] in idle else 0.0
            # 900 s: `established` of the configuration's `timeouts`, which the lab leaves alone.
            shortened += row["expire"] < 900.0 - quiet - SHORTENED
        return dict(states), shortened

    def _connections(self) -> list[dict[str, Any]]:
        """The honest client's TCP connections, as the switch shows them."""
        rows = json.loads(self._asked("connections"))
        client = self._address(CLIENT)
        return [
            row
            for row in rows
            if row["protocol"] == "tcp" and _endpoint(row["source"])[0] == client
        ]

    def _stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(self._asked("stats"))
        return stats

    def _asked(self, what: str) -> str:
        result = self.lab.cli("show", what, "--json", timeout=60)
        if result.returncode:
            raise LabError(f"show {what}: {result.stderr.strip()}")
        return result.stdout

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LabError("the switch ended during the attack")

    def _lost(self) -> int:
        """Packets that the kernel has dropped because the switch did not fetch them in time."""
        if self.attack.capture == "tun":
            return int(self._on_switch("cat", "/sys/class/net/lbtun/statistics/tx_dropped"))
        rows = self._on_switch("cat", "/proc/net/netfilter/nfnetlink_queue").splitlines()
        # queue, pid, waiting, copy mode, range, dropped by the queue, dropped by the socket, ...
        return sum(int(row.split()[5]) + int(row.split()[6]) for row in rows)

    def _peers_of(self, host: str) -> list[int]:
        """Ports of the snat address that a real server's connections come from."""
        table = "tcp" if self.attack.family == 4 else "tcp6"
        lines = self.lab.exec(host, ["cat", f"/proc/net/{table}"]).stdout.splitlines()[1:]
        fields = [line.split() for line in lines]
        return [
            int(each[2].rpartition(":")[2], 16)
            for each in fields
            if each[1].endswith(f":{TCP_PORT:04X}") and each[3] == "01"
        ]

    def _on_switch(self, *command: str) -> str:
        return self.lab.exec(SWITCH, command, check=True).stdout

    def _mac(self, link: str) -> str:
        return self._on_switch("cat", f"/sys/class/net/{link}/address").strip()

    def _address(self, host: str) -> str:
        return str(self.lab.topology.host(host).ip_of_family(self.attack.family))

    @property
    def _snat(self) -> str:
        return SNATS[self.attack.family] if self.attack.forward == "full_nat" else ""


def _active(stats: dict[str, Any]) -> int:
    return sum(
        server["active"] for group in stats["virtual_servers"] for server in group["real_servers"]
    )


def _endpoint(text: str) -> tuple[str, int]:
    """`[2001:db8::1]:7` -> address and port."""
    host, _, port = text.rpartition(":")
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)
