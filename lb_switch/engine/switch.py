"""The switch: virtual servers in, verdicts out.

`handle_packet(buffer, start, length, now)` is the way in.  It does no I/O, reads no clock and draws
no random number: live captures, the replay of a recording, tests and benchmarks run this same
code.

A packet takes one of two roads: the short road (`short_road`) if it is an ordinary packet of a
known connection, else the readable road (`readable_road`), where every step can be followed.
"""

from __future__ import annotations

from lb_switch.engine.bookkeeping import Bookkeeping
from lb_switch.engine.changes import (
    AddRealServer,
    AddVirtualServer,
    Change,
    ChangeSettings,
    Configure,
    EndConnections,
    OrderRealServers,
    OrderVirtualServers,
    RemoveRealServer,
    RemoveVirtualServer,
    SetAdminState,
    SetHealth,
    SetWeight,
)
from lb_switch.engine.connections.fragments import FragmentTracker
from lb_switch.engine.connections.queues import Queues
from lb_switch.engine.connections.table import ConnectionTable
from lb_switch.engine.connections.tcp_state import Direction
from lb_switch.engine.directory import Directory
from lb_switch.engine.events import (
    Aspect,
    GroupStage,
    PacketEvent,
    ServerEvent,
    SettingsEvent,
    VirtualServerEvent,
)
from lb_switch.engine.listeners import EVERYTHING, Interest, Listener, Listeners
from lb_switch.engine.nat.identification import Identifications
from lb_switch.engine.outcome import KNOWN
from lb_switch.engine.readable_road import ReadableRoad
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.severing import Severing
from lb_switch.engine.short_road import ShortRoad
from lb_switch.engine.tcp_tracking import TCPTracker
from lb_switch.engine.verdict import Action, Reason, Verdict

__all__ = ["Settings", "Switch"]

EXPIRE_AT_ONCE = 1000
"""Connections looked at in one call of `handle_timers`: about a millisecond of work."""


class Switch:
    """An L4 switch: virtual servers in, verdicts out."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings = settings or Settings()
        self.listeners = Listeners()
        self.connections = ConnectionTable(
            settings.max_connections,
            count_half_open_by_source=settings.max_half_open_per_source > 0,
        )
        self.queues = Queues(settings.timeouts)
        self._directory = Directory()
        self.virtual_servers = self._directory.virtual_servers
        """By name, in configured order."""
        self._books = Bookkeeping(
            self.connections,
            self.queues,
            settings.snat_ports,
            settings.port_secret,
            self.listeners,
        )
        self._counters = dict.fromkeys(Reason, 0)
        tracker = TCPTracker(self._books)
        identifications = Identifications(settings.port_secret)
        self._severing = Severing(self.connections, self._books, self.listeners)
        self._short_road = ShortRoad(self.connections, tracker, identifications)
        self._readable_road = ReadableRoad(
            settings,
            self._directory,
            self.connections,
            self._books,
            tracker,
            self._severing,
            identifications,
            self._counters,
        )
        self._tell_packet: Listener | None = None
        self._told = 0

    # -- listeners -------------------------------------------------------------------------

    def listen(self, listener: Listener, interest: Interest = EVERYTHING) -> None:
        """Tell it what it wants to hear from now on."""
        self.listeners.add(listener, interest)
        self._tell_packet = self.listeners.packets

    def stop_listening(self, listener: Listener) -> None:
        """Tell it nothing any more."""
        self.listeners.remove(listener)
        self._tell_packet = self.listeners.packets

    # -- changes ---------------------------------------------------------------------------

    def change(self, change: Change, now: float) -> None:
        """Change virtual servers, real servers or settings; whoever listens is told.

        Raises ValueError, and has changed nothing then, where a name or an endpoint is taken, or
        where settings would need a table made anew.
        """
        self._severing.now = now
        match change:
            case SetHealth(real_server, healthy, finding):
                real_server.healthy = healthy
                self._server_changed(real_server, Aspect.HEALTH, now, finding)
            case SetAdminState(real_server, state):
                real_server.admin_state = state
                self._server_changed(real_server, Aspect.STATE, now)
            case SetWeight(real_server, weight):
                real_server.weight = weight
                self._server_changed(real_server, Aspect.WEIGHT, now)
            case ChangeSettings(settings):
                self._change_settings(settings, now)
            case OrderVirtualServers(names):
                self._directory.order(names)
                for virtual_server in self.virtual_servers.values():
                    self._group_changed(GroupStage.CHANGED, virtual_server, now)
                    break
            case AddVirtualServer(virtual_server):
                self._directory.add(virtual_server)
                virtual_server.on_refresh = self._severing.review
                self._group_changed(GroupStage.ADDED, virtual_server, now)
            case RemoveVirtualServer(virtual_server):
                self._directory.remove(virtual_server)
                self._group_changed(GroupStage.REMOVED, virtual_server, now)
            case AddRealServer(virtual_server, real_server):
                real_server = virtual_server.add(real_server)
                self._group_changed(GroupStage.SERVER_ADDED, virtual_server, now, real_server)
            case RemoveRealServer(virtual_server, real_server):
                virtual_server.remove(real_server)
                self._group_changed(GroupStage.SERVER_REMOVED, virtual_server, now, real_server)
            case EndConnections(virtual_server, real_server):
                virtual_server.end_lingering(real_server)
            case OrderRealServers(virtual_server, real_servers):
                virtual_server.order(real_servers)
                self._group_changed(GroupStage.CHANGED, virtual_server, now)
            case Configure(virtual_server, name, scheduler, on_down, persistence):
                virtual_server.name = name
                virtual_server.configure(scheduler, on_down, persistence)
                self._group_changed(GroupStage.CHANGED, virtual_server, now)

    def add_virtual_server(self, virtual_server: VirtualServer, now: float = 0.0) -> None:
        """Serve it from now on: the change that every switch begins with."""
        self.change(AddVirtualServer(virtual_server), now)

    def _server_changed(
        self, real_server: RealServer, changed: Aspect, now: float, finding: str = ""
    ) -> None:
        virtual_server = real_server.virtual_server
        assert virtual_server is not None
        virtual_server.refresh()
        if self.listeners.servers is not None:
            event = ServerEvent(now, virtual_server, real_server, changed, finding)
            self.listeners.servers(event)

    def _group_changed(
        self,
        stage: GroupStage,
        virtual_server: VirtualServer,
        now: float,
        real_server: RealServer | None = None,
    ) -> None:
        """Tell of a virtual server that is served, or was until now."""
        served = self.virtual_servers.get(virtual_server.name) is virtual_server
        if self.listeners.servers is not None and (served or stage is GroupStage.REMOVED):
            names = tuple(self.virtual_servers)
            event = VirtualServerEvent(now, stage, virtual_server, names, real_server)
            self.listeners.servers(event)

    def _change_settings(self, settings: Settings, now: float) -> None:
        old, table = self.settings, self.connections
        if (settings.max_half_open_per_source > 0) != (old.max_half_open_per_source > 0):
            raise ValueError("max_half_open_per_source cannot be switched on or off while running")
        if settings.snat_ports != old.snat_ports:
            raise ValueError("snat_ports cannot change while running")
        if settings.port_secret != old.port_secret:
            raise ValueError("port_secret cannot change while running")
        if settings.max_connections < len(table):
            raise ValueError(
                f"max_connections cannot become {settings.max_connections}:"
                f" there are {len(table)} connections"
            )
        if settings == old:
            return
        self.settings = settings
        table.max_connections = settings.max_connections
        self._books.change_timeouts(settings.timeouts)
        self._readable_road.settings = settings
        self._readable_road.answer_limit.change(settings.answers_per_second)
        if self.listeners.servers is not None:
            self.listeners.servers(SettingsEvent(now, settings))

    def note_host_addresses(self, addresses: frozenset[bytes]) -> None:
        """Take for forged what is sent to a VIP from these addresses (packed) of this machine."""
        self._directory.host_addresses = addresses

    # -- counters --------------------------------------------------------------------------

    @property
    def fragments(self) -> FragmentTracker:
        """The datagrams that are under way in fragments."""
        return self._readable_road.fragments

    @property
    def counters(self) -> dict[Reason, int]:
        """Packets by reason; every packet is counted once."""
        counters = dict(self._counters)
        counters[Reason.KNOWN_CONNECTION] += self._short_road.packets
        counters[Reason.FRAGMENT_EXPIRED] = self.fragments.expired
        return counters

    def note_internal_error(self) -> Verdict:
        """Count a packet whose handling raised, for the capture that caught the exception."""
        self._counters[Reason.INTERNAL_ERROR] += 1
        return Verdict(Action.DROP, Reason.INTERNAL_ERROR)

    def note_cut_packet(self) -> Verdict:
        """Count a packet of which the capture has only the beginning."""
        self._counters[Reason.CUT_BY_CAPTURE] += 1
        return Verdict(Action.DROP, Reason.CUT_BY_CAPTURE)

    # -- packets ---------------------------------------------------------------------------

    def handle_packet(
        self,
        buffer: bytearray,
        start: int,
        length: int,
        now: float,
        partial: bool = False,
        readable: bool = False,
    ) -> Verdict:
        """Decide on the IP packet at `buffer[start:start + length]`, rewriting it in place.

        `now` is in seconds, on any clock that never goes back.  `partial` says that the L4
        checksum field holds only the pseudo-header sum, as a capture with checksum offload
        delivers it; it leaves in the same form.  `readable`: take the readable road, even with a
        packet that could take the short one.
        """
        if self._tell_packet is not None:
            return self._handle_told(buffer, start, length, now, partial, readable)
        if not readable and self._short_road.take(buffer, start, length, now, partial):
            return KNOWN
        verdict = self._readable_road.take(buffer, start, length, now, partial).verdict
        self._counters[verdict.reason] += 1
        return verdict

    def _handle_told(
        self,
        buffer: bytearray,
        start: int,
        length: int,
        now: float,
        partial: bool,
        readable: bool,
    ) -> Verdict:
        """Handle a packet, on the road that it takes anyway, and tell of it."""
        tell = self._tell_packet
        assert tell is not None
        kept = start + min(length, self.listeners.keep)
        before = bytes(buffer[start:kept])
        ends = bytes(buffer[start + 8 : start + 44])  # where the flow key is, if it is plain
        short = self._short_road
        short.old_state = None
        about = None if readable else short.take(buffer, start, length, now, partial)
        virtual_server = choice = state = timeout = None
        way: Direction | None
        if about is not None:
            verdict, old_state = KNOWN, short.old_state
            if old_state is None:
                old_state = about.state
            key = about.original_key
            to_server = ends == key or ends[4:16] == key
            way = Direction.ORIGINAL if to_server else Direction.REPLY
        else:
            outcome = self._readable_road.take(buffer, start, length, now, partial, explained=True)
            self._counters[outcome.verdict.reason] += 1
            verdict, virtual_server, about, way, old_state, choice = outcome
        if about is not None:
            if not about.is_over:
                state = about.state
                timeout = self.settings.timeouts[state]
            if virtual_server is None:
                virtual_server = about.real_server.virtual_server
        self._told += 1
        tell(
            PacketEvent(
                now,
                self._told,
                before,
                bytes(buffer[start:kept]),
                length,
                partial,
                verdict,
                virtual_server,
                about,
                way,
                old_state,
                state,
                timeout,
                choice,
            )
        )
        return verdict

    # -- timers ----------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `handle_timers` is to be called next; None: not before another packet."""
        soonest = self._books.next_deadline()
        for other in (self.fragments.next_deadline(), self._severing.next_deadline()):
            if other is not None and (soonest is None or other < soonest):
                soonest = other
        return soonest

    def handle_timers(self, now: float) -> tuple[bytes, ...]:
        """Do what is due at `now`, a bounded amount of it; return packets to send.

        If more is left, `next_deadline` lies in the past.
        """
        self._books.forget_expired(now, EXPIRE_AT_ONCE)
        self.fragments.expire(now)
        return self._severing.run(now)
