"""A fresh lab for one attack: honest traffic, the attack, what became of both, and its removal."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Self

from netns_lab.attack import sender
from netns_lab.attack.lookout import Lookout, active, endpoint
from netns_lab.attack.programs import Program
from netns_lab.attack.report import Attack, Outcome
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
from netns_lab.lab import Lab
from netns_lab.state import State
from netns_lab.topologies import SWITCH

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
        self._lookout = Lookout(self.lab, state.switch.pid)

    # --- the attack ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Let honest traffic begin, attack, and see what became of it."""
        attack, lookout = self.attack, self._lookout
        blind = attack.kind == "blind"
        born = time.monotonic()
        honest = Program(self.lab, CLIENT, "honest", *self._honest_arguments())
        ports = json.loads(honest.hear(READY))["ready"]
        time.sleep(_SETTLE)
        plans = self._blind_plans() if blind else {NEAR: self._flood_plan()}
        before, lost = lookout.stats(), lookout.lost(attack.capture)
        memory, (used_before, waited_before) = lookout.memory("VmRSS"), lookout.processor_time()
        begin = time.monotonic()
        if not blind:
            honest.say("attack")
        sent = self._attack(plans)
        used, waited = lookout.processor_time()
        seconds = time.monotonic() - begin
        if not blind:
            honest.say("over")
            honest.hear(SLACK)
        after = lookout.stats()
        states: dict[str, int] = {}
        shortened = 0
        if blind:
            client, idle = self._address(CLIENT), set(ports["idle"])
            states, shortened = lookout.states(client, idle, time.monotonic() - born)
        honest.say("end", last=True)
        said = json.loads(honest.hear(SLACK))
        reasons = {
            name: more
            for name, count in after["packets"].items()
            if (more := count - before["packets"].get(name, 0))
        }
        return Outcome(
            sent=sum(int(each["taken"]) for each in sent),
            seconds=max(each["seconds"] for each in sent),
            reached=sum(reasons.values()),
            lost=lookout.lost(attack.capture) - lost,
            honest=said,
            memory=(memory, lookout.memory("VmHWM")),
            states=states,
            shortened=shortened,
            active=(active(before), active(after)),
            errors=reasons.get("internal_error", 0),
            busy=(used - used_before) / seconds,
            waited=(waited - waited_before) / seconds,
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
            router=self._lookout.mac("clients"),
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
        for row in self._lookout.connections(self._address(CLIENT)):
            source, server = endpoint(row["source"]), endpoint(row["destination"])
            asks.append((*source, self._vip, TCP_PORT))
            if not self._snat:
                answers.append((*server, *source))
        if self._snat:
            answers = [
                (self._address(host), TCP_PORT, self._snat, port)
                for host in SERVERS
                for port in self._lookout.peers_of(host, attack.family)
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
                    router=self._lookout.mac(link),
                    packets=round(attack.packets * part),
                    rate=attack.rate * part,
                    ends=ends,
                    segments=list(attack.segments),
                    spacing="spaced" if attack.spacing == "spaced" else "random",
                )
        return plans

    def _address(self, host: str) -> str:
        return str(self.lab.topology.host(host).ip_of_family(self.attack.family))

    @property
    def _snat(self) -> str:
        return SNATS[self.attack.family] if self.attack.forward == "full_nat" else ""
