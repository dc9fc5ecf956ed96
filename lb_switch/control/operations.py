"""Changes of a running switch: all or nothing, and no connection is lost.

Every change but that of an administrative state goes one way: from the running configuration to
another valid one, whose difference is applied to the switch, then to the host's rules; if those
cannot follow, the switch is taken back to where it was.  In between no packet is handled.

What a reload means for what an operator has done by hand since: the file is the truth about all
that it can say.  Weights become the file's, real and virtual servers that it does not name go.
It cannot say who is drained or in maintenance, nor who is healthy: that stays, as long as the real
server stays in its group.

A real server that leaves its group, by `remove` or by a reload, is drained: it gets no new
connection, and those of TCP go on to their end.  UDP has no end that a switch could see, and
clients that go on sending would stay for ever; so the UDP conversations get the UDP timeout, once,
from the removal on (to within a minute).  After that the next datagram of each client is scheduled
anew.  `remove --now` does not wait: its connections do what `on_down` says of a server that went
down.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lb_switch.config import arrangement, build, difference, edit, load
from lb_switch.config.arrangement import Arrangement, ServerIdentity
from lb_switch.config.schema import Config, SchedulerName
from lb_switch.control import places
from lb_switch.control.messages import RequestError
from lb_switch.engine.changes import (
    ChangeSettings,
    EndConnections,
    SetAdminState,
    SetWeight,
)
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES, UDP
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.host.error import HostError

if TYPE_CHECKING:
    from lb_switch.capture.interface import LiveCapture
    from lb_switch.engine.switch import Switch

WEIGHTLESS = frozenset({"rr", "lc"})
"""Schedulers that look at a weight only to see whether it is 0."""

_log = logging.getLogger(__name__)

Follower = Callable[[Iterable[VirtualServer], float], None]
"""Told of the virtual servers, and of the time, after each change of them."""


class Operations:
    """The operator's hands on `switch`, which runs `config` with `capture`.

    `path`: the configuration file, for `reload`, which happens within `around_reload()`.
    `followers` are called after each change, in order.  Each change returns what it changed, a line
    each.  All raise RequestError, and then have changed nothing.
    """

    def __init__(
        self,
        switch: Switch,
        config: Config,
        capture: LiveCapture,
        *,
        path: Path | None = None,
        followers: Sequence[Follower] = (),
        around_reload: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.config = config
        """What runs now."""
        self._switch = switch
        self._capture = capture
        self._path = path
        self._followers = tuple(followers)
        self._around_reload = around_reload
        self._departed: dict[ServerIdentity, VirtualServer] = {}
        """Virtual servers that were removed while they had connections."""
        self._leftover: list[RealServer] = []
        """Real servers whose host rules outlive them, because their connections do."""
        self._draining: dict[RealServer, float | None] = {}
        """Removed real servers of UDP, and when those who still send are to be scheduled anew; None
        before the first `tidy` after the removal, which knows what time it is."""

    # -- changes ---------------------------------------------------------------------------

    def reload(self, now: float) -> list[str]:
        """Run what the file says now."""
        with self._around_reload():
            return self._reload(now)

    def _reload(self, now: float) -> list[str]:
        if self._path is None:
            raise RequestError("this switch was not started from a file")
        try:
            config = load.load(self._path)
        except load.ConfigError as error:
            raise _invalid(self._path, error.lines) from None
        lines = difference.refused(self.config, config)
        if lines:
            raise _invalid(self._path, lines)
        return self._change_to(config, now)

    def add_virtual_server(
        self, endpoint: Endpoint, protocol: str, name: object, scheduler: object, now: float
    ) -> list[str]:
        """Serve a VIP and port, with no real server yet."""
        table = {
            "name": name,
            "address": str(endpoint),
            "protocol": protocol,
            "scheduler": scheduler,
        }
        with _said_in_one_line():
            return self._change_to(edit.add_virtual_server(self.config, table), now)

    def remove_virtual_server(
        self, virtual_server: VirtualServer, now: float, *, at_once: bool = False
    ) -> list[str]:
        """Take no new connections for it.

        Live ones go on; with `at_once` they follow its `on_down` from now on.
        """
        index = self._index(virtual_server)
        lines = self._change_to(edit.remove_virtual_server(self.config, index), now)
        if at_once:
            for real_server in virtual_server.lingering:
                lines += self._end(virtual_server, real_server, now)
        return lines

    def add_real_server(
        self, virtual_server: VirtualServer, endpoint: Endpoint, weight: object, now: float
    ) -> list[str]:
        """Put a real server into a group."""
        if virtual_server.find(endpoint) is not None:
            raise RequestError(f"{virtual_server.name} has the real server {endpoint} already")
        table = {"address": str(endpoint), "weight": weight}
        index = self._index(virtual_server)
        with _said_in_one_line():
            lines = self._change_to(edit.add_real_server(self.config, index, table), now)
        scheduler = self.config.virtual_server[index].scheduler
        if weight != 1:
            lines += _without_effect(virtual_server.name, scheduler, 1, bool(weight))
        return lines

    def remove_real_server(
        self,
        virtual_server: VirtualServer,
        real_server: RealServer,
        now: float,
        *,
        at_once: bool = False,
    ) -> list[str]:
        """Give it no new connections and forget it with its last one.

        `at_once`: its live connections follow the virtual server's `on_down` from now on; else it
        is drained.  With it a drain that is under way can be cut short.
        """
        lines = []
        if real_server in virtual_server.real_servers:
            index, endpoint = self._index(virtual_server), real_server.endpoint
            config = edit.remove_real_server(self.config, index, endpoint)
            lines = self._change_to(config, now)
        return lines + self._end(virtual_server, real_server, now) if at_once else lines

    def set_scheduler(
        self, virtual_server: VirtualServer, scheduler: object, now: float
    ) -> list[str]:
        """Let another scheduler choose from now on; connections stay where they are."""
        with _said_in_one_line():
            config = edit.set_scheduler(self.config, self._index(virtual_server), scheduler)
        return self._change_to(config, now)

    def set_real_server(
        self,
        virtual_server: VirtualServer,
        real_server: RealServer,
        state: AdminState | None,
        weight: object,
        now: float,
    ) -> list[str]:
        """Change administrative state, weight or both; None leaves them as they are."""
        lines: list[str] = []
        endpoint = real_server.endpoint
        if weight is not None:
            with _said_in_one_line():
                index = self._index(virtual_server)
                config = edit.set_weight(self.config, index, endpoint, weight)
            lines += difference.describe(self.config, config)
            self.config = config
            new_weight = next(
                table.weight
                for table in config.virtual_server[index].real_server
                if table.address == endpoint
            )
            if new_weight != real_server.weight:
                lines += _without_effect(
                    virtual_server.name,
                    config.virtual_server[index].scheduler,
                    real_server.weight,
                    new_weight,
                )
                self._switch.change(SetWeight(real_server, new_weight), now)
        if state is not None and state is not real_server.admin_state:
            before = real_server.admin_state.value
            self._switch.change(SetAdminState(real_server, state), now)
            lines.append(f"{virtual_server.name}: real server {endpoint} {before} -> {state.value}")
        return lines

    def tidy(self, now: float) -> None:
        """Do what removed real servers leave to do later.

        The host's rules go that only served connections which have ended since; and who still
        sends datagrams to one gets another server when the drain's time is up.

        To be called now and then; mostly it finds nothing to do.
        """
        self._end_drains(now)
        if self._leftover and not any(each.has_connections for each in self._leftover):
            self._leftover = []
            self._update_host("rules of connections that have ended stay")

    def _end_drains(self, now: float) -> None:
        timeout = self._switch.settings.timeouts[State.UDP]
        for real_server, deadline in list(self._draining.items()):
            virtual_server = real_server.virtual_server
            if virtual_server is None or real_server not in virtual_server.lingering:
                del self._draining[real_server]  # over, or back in the group
            elif deadline is None:
                self._draining[real_server] = now + timeout
            elif deadline <= now:
                self._switch.change(EndConnections(virtual_server, real_server), now)
                del self._draining[real_server]

    # -- who is meant ----------------------------------------------------------------------

    def virtual_server(self, endpoint: Endpoint | str, protocol: str | None) -> VirtualServer:
        """Return the virtual server at a VIP and port, or of a name.  Raises RequestError."""
        if isinstance(endpoint, str):
            named = places.virtual_server(endpoint, self._switch.virtual_servers.values())
            if protocol not in {None, PROTOCOL_NAMES[named.protocol]}:
                raise RequestError(f"there is no virtual server {protocol} {endpoint}")
            return named
        found = [
            each
            for each in self._switch.virtual_servers.values()
            if each.endpoint == endpoint and protocol in (None, PROTOCOL_NAMES[each.protocol])
        ]
        if len(found) > 1:
            raise RequestError(f"{endpoint} is served for tcp and udp: say which (protocol)")
        if not found:
            what = endpoint if protocol is None else f"{protocol} {endpoint}"
            raise RequestError(f"there is no virtual server {what}")
        return found[0]

    def real_server(
        self, virtual_server: VirtualServer, endpoint: Endpoint | str, *, or_lingering: bool = False
    ) -> RealServer:
        """Return a real server of a group, or one that left it; a str names its host.

        Raises RequestError.
        """
        if isinstance(endpoint, str):
            among = [*virtual_server.real_servers, *(virtual_server.lingering * or_lingering)]
            return places.real_server(endpoint, virtual_server, among, self.config.hosts)
        real_server = virtual_server.find(endpoint)
        if real_server is None and or_lingering:
            lingering = virtual_server.lingering
            real_server = next((each for each in lingering if each.endpoint == endpoint), None)
        if real_server is None:
            raise RequestError(f"{virtual_server.name} has no real server {endpoint}")
        return real_server

    def endpoint(self, virtual_server: VirtualServer, place: Endpoint | str) -> Endpoint:
        """Return where a new real server of a group is to be.  Raises RequestError."""
        if isinstance(place, str):
            return places.endpoint(place, virtual_server.endpoint.ip.version, self.config.hosts)
        return place

    def _index(self, virtual_server: VirtualServer) -> int:
        return edit.place_of(
            self.config, virtual_server.endpoint, PROTOCOL_NAMES[virtual_server.protocol]
        )

    # -- how -------------------------------------------------------------------------------

    def _change_to(self, config: Config, now: float) -> list[str]:
        if config == self.config:
            return []
        switch = self._switch
        before = arrangement.of(switch)
        after = arrangement.plan(before, self.config, config, self._departed)
        self._apply(before, after, config, now)
        changes = difference.describe(self.config, config)
        self.config = config
        for follower in self._followers:
            follower(switch.virtual_servers.values(), now)
        return changes

    def _apply(self, before: Arrangement, after: Arrangement, config: Config, now: float) -> None:
        switch, capture = self._switch, self._capture
        settings = switch.settings
        gone = _gone(before, after)
        leftover = [*self._leftover, *gone]
        try:
            wanted = build.settings(config.switch, settings.port_secret)
            switch.change(ChangeSettings(replace(wanted, snat_ports=settings.snat_ports)), now)
        except ValueError as error:
            raise RequestError(f"{error}: nothing was changed") from None
        arrangement.impose(switch, before, after, now)
        if arrangement.host_part(before) != arrangement.host_part(after):
            try:
                capture.update(switch.virtual_servers.values())
            except Exception as error:
                arrangement.impose(switch, after, before, now)
                switch.change(ChangeSettings(settings), now)
                self._update_host("the host's rules are not as they were before")
                if isinstance(error, HostError):
                    raise RequestError(f"{error}: nothing was changed") from None
                raise
        self._leftover = [each for each in leftover if each.has_connections]
        remaining = {group.virtual_server for group in after}
        for real_server in gone:
            group = real_server.virtual_server
            if group in remaining and group.protocol == UDP:
                self._draining[real_server] = None
        self._remember_departed(before, after)

    def _end(self, virtual_server: VirtualServer, real_server: RealServer, now: float) -> list[str]:
        """Have the connections of a removed real server follow `on_down`; say how many they are."""
        if virtual_server.on_down != "keep":
            self._switch.change(EndConnections(virtual_server, real_server), now)
        if not real_server.has_connections:
            return []
        count = real_server.active + real_server.inactive
        how = f"on_down = {virtual_server.on_down!r}"
        return [f"{virtual_server.name}: connections to {real_server.endpoint}: {count}, by {how}"]

    def _update_host(self, otherwise: str) -> None:
        """Make the host's rules fit, where nobody can be answered that they do not."""
        try:
            self._capture.update(self._switch.virtual_servers.values())
        except HostError as error:
            _log.warning("%s until the next change: %s", otherwise, error)

    def _remember_departed(self, before: Arrangement, after: Arrangement) -> None:
        present = {group.virtual_server for group in after}
        for group in before:
            self._departed[arrangement.identity_of(group.virtual_server)] = group.virtual_server
        self._departed = {
            place: each
            for place, each in self._departed.items()
            if each not in present and each.lingering
        }


def _gone(before: Arrangement, after: Arrangement) -> list[RealServer]:
    remaining = {real_server for group in after for real_server in group.real_servers}
    return [
        real_server
        for group in before
        for real_server in group.real_servers
        if real_server not in remaining
    ]


def _invalid(path: Path, lines: Sequence[str]) -> RequestError:
    return RequestError(f"{path} cannot be used, nothing was changed:", lines)


@contextlib.contextmanager
def _said_in_one_line() -> Iterator[None]:
    try:
        yield
    except edit.EditError as error:
        raise RequestError(str(error)) from None


def _without_effect(name: str, scheduler: str, old: int, new: int) -> list[str]:
    """Return a line if a scheduler does not look at the weight; 0 means the same to each."""
    if scheduler not in WEIGHTLESS or not (old and new):
        return []
    weighted = ", ".join(each for each in get_args(SchedulerName) if each not in WEIGHTLESS)
    return [f"{name}: note: {scheduler} does not look at weights (but for 0); {weighted} do"]
