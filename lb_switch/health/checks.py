"""Which real servers are checked, what was found, and what the switch is told of it.

The counting is done here, in the switch's own process, and not where the probes run: when the
probe process dies, what is known stays known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lb_switch.engine.changes import SetHealth
from lb_switch.engine.events import ProbeEvent
from lb_switch.health import messages
from lb_switch.health.check import HealthCheck, Target
from lb_switch.health.process import COMMAND, Loop, ProbeProcess
from lb_switch.health.tracker import TOO_BUSY, Health, ProbeResult, Tracker, Transition

if TYPE_CHECKING:
    from lb_switch.engine.packet.endpoint import Endpoint
    from lb_switch.engine.servers import RealServer, VirtualServer
    from lb_switch.engine.switch import Switch

Row = dict[str, Any]

_GRACE = 10.0
"""Seconds that a result may come later than planned before the probe process counts as hung."""
_MAX_COMPLAINTS = 50
"""Different findings of probes that could not be made, each told once."""


class HealthChecks:
    """Checks a switch's real servers.

    `say(line)` tells that a real server went down or came up,
    `complain(line)` that checking itself is in trouble; neither may block.  `command` starts the
    probe process.
    """

    def __init__(
        self,
        switch: Switch,
        loop: Loop,
        *,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._switch = switch
        self._say = say
        self.complain = complain
        self._process = ProbeProcess(loop, self, command)
        self._checked: dict[tuple[str, Endpoint], _Checked] = {}
        self._by_number: dict[int, _Checked] = {}
        self._last_number = 0
        self._complaints: set[str] = set()

    def update(
        self,
        virtual_servers: Iterable[VirtualServer],
        checks: Mapping[str, HealthCheck],
        now: float,
    ) -> None:
        """Check exactly the real servers of these virtual servers, each as `checks` says by name.

        What is known of a real server stays known as long as its virtual server's name and its
        own endpoint are the same, also when they are new objects.  The probe process is started
        when there is something to check.
        """
        wanted = {
            (virtual_server.name, real_server.endpoint): real_server
            for virtual_server in virtual_servers
            for real_server in virtual_server.real_servers
        }
        orders = bytearray()
        for key, checked in list(self._checked.items()):
            if key not in wanted or key[0] not in checks:
                orders += self._forget(key, checked)
        for key, real_server in wanted.items():
            check = checks.get(key[0])
            if check is None:
                self._tell(real_server, True, "no longer checked", now)
            else:
                orders += self._follow(key, real_server, check, now)
        self._process.send(bytes(orders))
        if self._checked:
            self._process.open(now)

    def close(self) -> None:
        """End the probe process."""
        self._process.close()

    # -- what the probe process needs ------------------------------------------------------

    def orders(self) -> bytes:
        """Return all checks, for a probe process that knows none."""
        return b"".join(
            messages.start(checked.number, checked.target) for checked in self._checked.values()
        )

    def patience(self) -> float | None:
        """Return within how many seconds at least one result must come."""
        times = [c.target.interval + c.target.timeout for c in self._checked.values()]
        return min(times) + _GRACE if times else None

    def note(self, found: messages.Found, now: float) -> None:
        """Count a result, and do what follows from it."""
        checked = self._by_number.get(found.number)
        if checked is None:  # its last result crossed with the order to stop
            return
        if found.result.passed is None:
            self._complain_about(checked, found.result.finding)
        transition = checked.tracker.note(found.result, now)
        if self._switch.listeners.probes is not None:
            self._switch.listeners.probes(_event(checked, found.result, transition, now))
        if transition is not None:
            self._change(checked, transition)

    # -- what operators ask ----------------------------------------------------------------

    def rows(self, now: float) -> Iterator[Row]:
        """Yield one row per real server, checked or not, in configured order."""
        for virtual_server in list(self._switch.virtual_servers.values()):
            for real_server in list(virtual_server.real_servers):
                checked = self._checked.get((virtual_server.name, real_server.endpoint))
                yield _row(virtual_server, real_server, checked, now)

    def process_row(self, _now: float) -> Row:
        """Return how the probe process does."""
        return self._process.status._asdict()

    # -- the parts -------------------------------------------------------------------------

    def _follow(
        self, key: tuple[str, Endpoint], real_server: RealServer, check: HealthCheck, now: float
    ) -> bytes:
        checked = self._checked.get(key)
        orders = b""
        if checked is None:
            tracker = Tracker(check.rise, check.fall, now)
            checked = self._checked[key] = _Checked(key[0], real_server, check, tracker)
            orders = self._number(checked)
        elif checked.check != check:
            old, checked.check = checked.target, check
            checked.tracker.count_anew(check.rise, check.fall)
            if checked.target != old:
                orders = messages.stop(checked.number)
                del self._by_number[checked.number]
                orders += self._number(checked)
        checked.real_server = real_server
        self._tell(real_server, checked.tracker.healthy, checked.tracker.cause, now)
        return orders

    def _number(self, checked: _Checked) -> bytes:
        self._last_number += 1
        checked.number = self._last_number
        self._by_number[checked.number] = checked
        return messages.start(checked.number, checked.target)

    def _forget(self, key: tuple[str, Endpoint], checked: _Checked) -> bytes:
        del self._checked[key]
        del self._by_number[checked.number]
        return messages.stop(checked.number)

    def _change(self, checked: _Checked, transition: Transition) -> None:
        healthy = checked.tracker.healthy
        before = checked.real_server.healthy
        self._tell(checked.real_server, healthy, transition.cause, transition.time)
        if healthy != before:
            self._say(f"{checked.name} is {transition.after.value}: {transition.cause}")

    def _tell(self, real_server: RealServer, healthy: bool, cause: str, now: float) -> None:
        # Only what is news: every call makes schedulers look at the group afresh.
        if real_server.healthy != healthy:
            self._switch.change(SetHealth(real_server, healthy, cause), now)

    def _complain_about(self, checked: _Checked, finding: str) -> None:
        if finding == TOO_BUSY:  # of how many, one says it for all
            self._complain_once(
                f"health checks: this machine is too busy to probe {len(self._checked):,} real"
                " servers in time: what was known of them stands; let the interval be longer"
            )
        else:
            self._complain_once(f"{checked.name}: {finding}")

    def _complain_once(self, line: str) -> None:
        if line not in self._complaints and len(self._complaints) < _MAX_COMPLAINTS:
            self._complaints.add(line)
            self.complain(line)


class _Checked:
    """One real server that is checked, and what is known of it."""

    __slots__ = ("check", "number", "real_server", "tracker", "virtual_server")

    def __init__(
        self, virtual_server: str, real_server: RealServer, check: HealthCheck, tracker: Tracker
    ) -> None:
        self.virtual_server = virtual_server
        self.real_server = real_server
        self.check = check
        self.tracker = tracker
        self.number = 0

    @property
    def name(self) -> str:
        return f"{self.virtual_server} {self.real_server.endpoint}"

    @property
    def target(self) -> Target:
        return self.check.aimed_at(self.real_server.endpoint)


def _event(
    checked: _Checked, result: ProbeResult, transition: Transition | None, now: float
) -> ProbeEvent:
    real_server = checked.real_server
    assert real_server.virtual_server is not None
    became: Literal["up", "down"] | None = None
    if transition is not None:
        became = "up" if transition.after is Health.UP else "down"
    kind = checked.check.kind
    return ProbeEvent(now, real_server.virtual_server, real_server, kind, *result, became)


def _row(
    virtual_server: VirtualServer, real_server: RealServer, checked: _Checked | None, now: float
) -> Row:
    row: Row = {
        "virtual_server": virtual_server.name,
        "address": str(real_server.endpoint),
        "state": "unknown",
        "seconds": None,
        "cause": None,
        "check": "none",
        "interval": None,
        "last": None,
        "against": 0,
        "needed": None,
    }
    if checked is None:
        return row
    tracker = checked.tracker
    row |= {
        "state": tracker.health.value,
        "seconds": round(now - tracker.since, 3),
        "cause": tracker.cause or None,
        "check": checked.check.kind,
        "interval": checked.check.interval,
        "against": tracker.against,
        "needed": tracker.needed,
    }
    if tracker.last is not None:
        row["last"] = {**tracker.last._asdict(), "age": round(now - tracker.last_time, 3)}
    return row
