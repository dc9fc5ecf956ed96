"""The running switch, put together: the one place where its parts are built and joined.

    configuration -> engine (a switch)
    capture  <->  loop  <->  engine  ->  hub  ->  readers of the stream
                   |- control socket (verbs, operations)
                   |- health checks (a process of their own)
                   |- the keeper of the host's rules (likewise)
                   |- signals: HUP reads the configuration again, INT and TERM end it

Only the loop reads the clock; all else is handed `now`.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from lb_switch.capture.interface import LiveCapture
from lb_switch.config.build import build, health_checks, host_names
from lb_switch.config.schema import Config
from lb_switch.control.changes import Changes
from lb_switch.control.messages import RequestError
from lb_switch.control.operations import Operations
from lb_switch.control.server import ControlServer
from lb_switch.control.verbs import Verbs
from lb_switch.daemon.invariant_check import InvariantCheck
from lb_switch.daemon.loop import Loop
from lb_switch.daemon.surroundings import Surroundings
from lb_switch.engine.servers import VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.health.checks import HealthChecks
from lb_switch.host.error import HostError
from lb_switch.host.keeper_process import KeeperProcess, News
from lb_switch.stream import encode
from lb_switch.stream.hub import SHARES, Hub
from lb_switch.words import english as words

LOSSES_SECONDS = 1.0
"""Between two looks at what the capture has lost."""
TIDY_SECONDS = 30.0
"""Between two looks for host rules that nobody needs any more."""

Say = Callable[[str], None]
"""Takes a line for whoever watches; it must not block."""


class RunningSwitch:
    """A switch with a capture, health checks and a control socket.

    `make_capture(switch)` makes the capture, `path` is the file for reloads, `control_path` where
    the socket is to be; `say` and `complain` take lines, `on_serving` is called once packets are
    handled, `on_stopping` before the capture closes, `on_ended` after it; a reload happens within
    `around_reload()`.
    `clock` returns seconds, `port_secret` is what full NAT's source ports depend on (None: drawn).

    `run` raises HostError, SocketInUseError or BrokenInvariantError.
    """

    def __init__(
        self,
        config: Config,
        make_capture: Callable[[Switch], LiveCapture],
        control_path: Path,
        *,
        say: Say,
        complain: Say,
        path: Path | None = None,
        on_serving: Callable[[], None] = lambda: None,
        on_stopping: Callable[[], None] = lambda: None,
        on_ended: Callable[[], None] = lambda: None,
        around_reload: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        check_invariants: bool = False,
        clock: Callable[[], float] = time.monotonic,
        port_secret: bytes | None = None,
    ) -> None:
        secret = secrets.token_bytes(16) if port_secret is None else port_secret
        self._say, self._complain = say, complain
        self._on_serving = on_serving
        self._on_stopping = on_stopping
        self._on_ended = on_ended
        self.switch = build(config, secret)
        self.capture = make_capture(self.switch)
        self.hub = Hub(self.switch, self._names, lambda: self.capture.routed)
        self.loop = Loop(
            self.switch,
            self.capture,
            on_ready=self._ready,
            on_stop=self._stopping,
            on_hangup=self._hang_up,
            clock=clock,
        )
        self.health = HealthChecks(self.switch, self.loop, say=say, complain=complain)
        host = self.capture.host
        self._keeper = KeeperProcess(
            self.loop, host.kept if host else lambda: None, self._hear_of_host, complain
        )
        if host is not None:
            host.around_change = self._keeper.paused
        self._amiss: tuple[str, ...] = ()
        """What is missing on the host, as the keeper says."""
        self._surroundings = Surroundings(self.switch, self.capture.name, complain)
        self.operations = Operations(
            self.switch,
            config,
            self.capture,
            path=path,
            followers=[self._follow],
            around_reload=around_reload,
        )
        verbs = Verbs(
            self.switch,
            self.loop.now(),
            self.health,
            Changes(self.operations),
            lambda: self.operations.config.hosts,
            self.hub,
            self.capture.losses,
            self._host_row,
        )
        self._control = ControlServer(control_path, verbs)
        self._audit = InvariantCheck(self.switch, self.loop, complain) if check_invariants else None
        self._begin: Callable[[float], None] = lambda _now: None
        self._lost: dict[str, int] = {}

    def run(self, begin: Callable[[float], None] = lambda _now: None) -> None:
        """Serve until told to stop.  `begin(now)` is called when packets can come."""
        self._begin = begin
        try:
            self._control.claim()
            try:
                self.loop.run()
            finally:
                self._keeper.close()
                self._on_ended()
            if self._audit is not None:
                self._audit.finish()
        finally:
            self._control.close()
            self.health.close()

    def _names(self) -> dict[str, str]:
        return {str(ip): name for ip, name in host_names(self.operations.config).items()}

    def _ready(self, now: float) -> None:
        config = self.operations.config
        self._control.open()
        self.loop.register(self._control, self._control.handle_ready)
        self._surroundings.look(config)
        self.health.update(self.switch.virtual_servers.values(), health_checks(config), now)
        if self._audit is not None:
            self._audit.start(now)
        self._tidy(now)
        self._tell_losses(now)
        self._refill(now)
        self._keeper.open(now)
        self._begin(now)
        self._on_serving()

    def _stopping(self) -> None:
        self._keeper.close()
        self._on_stopping()

    def _hear_of_host(self, news: News, now: float) -> None:
        """Take what the keeper tells; make the rules anew where the host is another."""
        for what in ("restored", "given_up", "amiss"):
            if what in news:
                self._tell_of_host(what, tuple(news[what]), now)
        if "changed" in news:
            try:
                self.capture.update(self.switch.virtual_servers.values())
            except HostError as error:
                self._complain(f"host: the rules are as they were: {error}")
            else:
                self._surroundings.look_again(self.operations.config)
                self._tell_of_host("changed", (), now)

    def _tell_of_host(self, what: str, lines: tuple[str, ...], now: float) -> None:
        if what == "amiss":
            self._amiss = lines
        self._complain(f"host: {words.host(what, lines)}")
        self.hub.tell(encode.host(now, what, lines))

    def _host_row(self, _now: float) -> dict[str, object]:
        return {"keeper": self._keeper.pid, "amiss": list(self._amiss)}

    def _tidy(self, now: float) -> None:
        self.loop.call_at(now + TIDY_SECONDS, self._tidy)
        self.operations.tidy(now)

    def _tell_losses(self, now: float) -> None:
        self.loop.call_at(now + LOSSES_SECONDS, self._tell_losses)
        self.hub.flush()
        losses = self.capture.losses()
        if losses != self._lost:
            self._lost = losses
            if any(losses.values()):
                self.hub.tell(encode.losses(now, self.capture.name, losses))

    def _refill(self, now: float) -> None:
        # A reader with a bound that comes later has its first share at once.
        soon = 1 / SHARES if self.hub.refill() else LOSSES_SECONDS
        self.loop.call_at(now + soon, self._refill)

    def _hang_up(self, now: float) -> None:
        try:
            changes = self.operations.reload(now)
        except RequestError as error:
            for line in (f"{error}", *error.details):
                self._complain(f"reload: {line}")
        else:
            self._surroundings.look_again(self.operations.config)
            for line in changes or ["nothing changed"]:
                self._say(f"reload: {line}")

    def _follow(self, groups: Iterable[VirtualServer], now: float) -> None:
        config = self.operations.config
        self.health.update(groups, health_checks(config), now)
        self._surroundings.look_after_change(config)


def make_capture(name: str, config: Config, switch: Switch) -> LiveCapture:
    """Return the capture of that name: tun or nfqueue."""
    virtual_servers = switch.virtual_servers.values()
    if name == "nfqueue":
        from lb_switch.capture.nfqueue import NfqueueCapture

        return NfqueueCapture(
            virtual_servers,
            queue=config.switch.queue,
            own_addresses=config.switch.take_own_addresses,
        )
    from lb_switch.capture.tun import TunCapture

    return TunCapture(virtual_servers)
