"""The engine: what happens to a packet, in packet order.

    parse -> connection lookup -> (miss: virtual server -> schedule -> translate -> insert)
          -> rewrite -> verdict

It does no I/O, reads no clock and draws no random number: a packet and the time come in, a verdict
goes out.  Live captures, the replay of a recording, tests and benchmarks run this same code.

A packet takes one of two roads.  The short road (`lb_switch.short_road`) is for packets of a known
connection that change no state; everything else takes the readable road below.  Tests prove that
both give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from lb_switch.connections.connection import NOTHING_ACKED, Connection
from lb_switch.connections.fragments import (
    Datagram,
    Fate,
    FragmentTracker,
    HeldTooMuchError,
    RefusedError,
)
from lb_switch.connections.table import ConnectionTable, KeyClashError, TableFullError
from lb_switch.connections.tcp_state import (
    ACTIVE,
    DEFAULT_TIMEOUTS,
    REUSABLE,
    STEADY,
    Direction,
    Segment,
    State,
    event_of,
    next_state,
)
from lb_switch.connections.timeouts import TimerWheel
from lb_switch.events import Choice, ConnectionEvent, Event, PacketEvent, ServerEvent, Stage
from lb_switch.nat import answers
from lb_switch.nat.icmp_error import is_error, quoted_packet, reversed_key, translate_error
from lb_switch.nat.port_pool import PortPool
from lb_switch.nat.rewrite import rewrite, rewrite_addresses
from lb_switch.nat.translation import Translation
from lb_switch.packet import icmp, tcp
from lb_switch.packet.flow_key import FlowKey, pack_endpoint, reverse
from lb_switch.packet.parse import Packet, ParseError, parse
from lb_switch.packet.protocol import ICMP, ICMPV6, TCP, UDP
from lb_switch.packet.tcp import TCPHeader
from lb_switch.packet.udp import UDPHeader
from lb_switch.servers import AdminState, RealServer, VirtualServer
from lb_switch.short_road import ShortRoad
from lb_switch.tally import ONE_PACKET
from lb_switch.verdict import Action, Reason, Verdict

RST_DISTANCE = 1 << 20
"""How far, in bytes, a RST's sequence number may be from what the other side last acknowledged.
A blind attacker hits this window of the 2**32 numbers once in 2,048 tries; a window larger than
1 MiB of unacknowledged data merely leaves the entry to its timeout."""

EXPIRE_AT_ONCE = 1000
"""Connections looked at in one call of `handle_timers`: about a millisecond of work."""


@dataclass(frozen=True)
class Settings:
    """What holds for the whole switch.  Timeouts in seconds, by state."""

    max_connections: int = 1_000_000
    max_half_open_per_source: int = 0
    """0: no limit but that of the table."""
    unknown_tcp: Literal["reset", "drop", "schedule"] = "reset"
    timeouts: dict[State, float] = field(default_factory=lambda: dict(DEFAULT_TIMEOUTS))


class Outcome(NamedTuple):
    """A verdict and whom it is about."""

    verdict: Verdict
    virtual_server: VirtualServer | None = None
    connection: Connection | None = None
    direction: Direction | None = None
    old_state: State | None = None


_KNOWN = Verdict(Action.FORWARD, Reason.KNOWN_CONNECTION)
_NEW = Verdict(Action.FORWARD, Reason.NEW_CONNECTION)
_RESCHEDULED = Verdict(Action.FORWARD, Reason.RESCHEDULED)
_PORT_REUSE = Verdict(Action.FORWARD, Reason.PORT_REUSE)
_RST_OUT_OF_WINDOW = Verdict(Action.FORWARD, Reason.RST_OUT_OF_WINDOW)
_ONE_PACKET = Verdict(Action.FORWARD, Reason.ONE_PACKET)
_FRAGMENT = Verdict(Action.FORWARD, Reason.FRAGMENT)
_ICMP_ERROR = Verdict(Action.FORWARD, Reason.ICMP_ERROR)
_UDP_ZERO = Verdict(Action.DROP, Reason.UDP_ZERO_CHECKSUM)
_NOT_FOR_THE_SWITCH = Verdict(Action.PASS, Reason.NOT_FOR_THE_SWITCH)


class Switch:
    """An L4 switch: virtual servers in, verdicts out."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.virtual_servers: dict[str, VirtualServer] = {}
        self.connections = ConnectionTable(
            self.settings.max_connections,
            count_half_open_by_source=self.settings.max_half_open_per_source > 0,
        )
        self.fragments = FragmentTracker()
        self.observer: Callable[[Event], None] | None = None
        self._timers = TimerWheel(self.settings.timeouts)
        self._by_endpoint: dict[tuple[int, bytes, bytes], VirtualServer] = {}
        self._own_addresses: Counter[bytes] = Counter()
        """VIPs and source addresses of full NAT: what comes here is the switch's to decide."""
        self._port_pools: dict[tuple[int, bytes], PortPool] = {}
        """By protocol and reply key without its last two bytes, which are the port."""
        self._counters = dict.fromkeys(Reason, 0)
        self._short_road = ShortRoad(self.connections)
        self._told = 0
        self._choice: Choice | None = None
        """Why the packet at hand goes where it goes; only while somebody listens."""

    # -- virtual servers -------------------------------------------------------------------

    def add_virtual_server(self, virtual_server: VirtualServer) -> None:
        """Serve it from now on.  Raises ValueError if name or endpoint is taken."""
        address, port = pack_endpoint(virtual_server.endpoint)
        place = (virtual_server.protocol, address, port)
        if virtual_server.name in self.virtual_servers:
            raise ValueError(f"there is a virtual server {virtual_server.name!r} already")
        if place in self._by_endpoint:
            raise ValueError(
                f"{virtual_server.endpoint} belongs to {self._by_endpoint[place].name}"
            )
        self.virtual_servers[virtual_server.name] = virtual_server
        self._by_endpoint[place] = virtual_server
        self._own_addresses.update((address, virtual_server.snat.packed))

    def remove_virtual_server(self, virtual_server: VirtualServer) -> None:
        """Take no new connections for it; live ones go on."""
        address, port = pack_endpoint(virtual_server.endpoint)
        del self.virtual_servers[virtual_server.name]
        del self._by_endpoint[virtual_server.protocol, address, port]
        self._own_addresses.subtract((address, virtual_server.snat.packed))
        self._own_addresses += Counter()

    # -- real servers ----------------------------------------------------------------------

    def set_health(self, real_server: RealServer, healthy: bool, cause: str, now: float) -> None:
        """Take what a health check found.  From now on no new connection goes to a failed one."""
        real_server.healthy = healthy
        self._server_changed(real_server, cause, now)

    def set_admin_state(self, real_server: RealServer, state: AdminState, now: float) -> None:
        """Do what the operator wants of a real server."""
        real_server.admin_state = state
        self._server_changed(real_server, f"set to {state.value}", now)

    def set_weight(self, real_server: RealServer, weight: int, now: float) -> None:
        """Give it another share of new connections; 0 drains it."""
        real_server.weight = weight
        self._server_changed(real_server, f"weight set to {weight}", now)

    def _server_changed(self, real_server: RealServer, cause: str, now: float) -> None:
        virtual_server = real_server.virtual_server
        assert virtual_server is not None
        virtual_server.refresh()
        self._tell(ServerEvent(now, virtual_server, real_server, cause))

    # -- counters --------------------------------------------------------------------------

    @property
    def counters(self) -> dict[Reason, int]:
        """Packets by reason; every packet is counted once."""
        counters = dict(self._counters)
        counters[Reason.KNOWN_CONNECTION] += self._short_road.packets
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
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool = False
    ) -> Verdict:
        """Decide on the IP packet at `buffer[start:start + length]`, rewriting it in place.

        `now` is in seconds, on any clock that never goes back.  `partial` says that the L4
        checksum field holds only the pseudo-header sum, as a capture with checksum offload
        delivers it; it leaves in the same form.
        """
        if self.observer is not None:
            return self._handle_observed(buffer, start, length, now, partial)
        if self._short_road.take(buffer, start, length, now, partial):
            return _KNOWN
        verdict = self._readable_road(buffer, start, length, now, partial).verdict
        self._counters[verdict.reason] += 1
        return verdict

    def _handle_observed(
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Verdict:
        """Handle a packet on the readable road, and tell the observer everything about it."""
        before = bytes(buffer[start : start + length])
        self._choice = None
        outcome = self._readable_road(buffer, start, length, now, partial)
        verdict, virtual_server, connection, direction, old_state = outcome
        self._counters[verdict.reason] += 1
        state = timeout = None
        if connection is not None:
            state = connection.state
            timeout = self.settings.timeouts[state]
            if virtual_server is None:
                virtual_server = connection.real_server.virtual_server
        self._told += 1
        self._tell(
            PacketEvent(
                now,
                self._told,
                before,
                bytes(buffer[start : start + length]),
                partial,
                verdict,
                virtual_server,
                connection,
                direction,
                old_state,
                state,
                timeout,
                self._choice,
            )
        )
        return verdict

    def _tell(self, event: Event) -> None:
        if self.observer is not None:
            self.observer(event)

    def _readable_road(
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Outcome:
        try:
            packet = parse(buffer, start, length, partial)
        except ParseError as error:
            return Outcome(Verdict(Action.DROP, error.reason))
        if packet.fragment is not None:
            return self._fragment(packet, now)
        return self._whole(packet, now)

    def _whole(self, packet: Packet, now: float) -> Outcome:
        """Decide on a packet that has its L4 header: not a fragment, or the first one."""
        if packet.key:
            connection = self.connections.find(packet.protocol, packet.key)
            if connection is not None:
                return self._known(packet, connection, now)
            return self._unknown(packet, now)
        if packet.protocol in {ICMP, ICMPV6}:
            return self._icmp(packet)
        if packet.destination in self._own_addresses:
            return Outcome(Verdict(Action.DROP, Reason.UNSUPPORTED_PROTOCOL))
        return Outcome(_NOT_FOR_THE_SWITCH)

    # -- fragments -------------------------------------------------------------------------

    def _fragment(self, packet: Packet, now: float) -> Outcome:
        """Let the first fragment decide, and the others follow it."""
        known = self.fragments.find(packet)
        if known is None and not self._may_concern(packet):
            return Outcome(_NOT_FOR_THE_SWITCH)
        try:
            datagram = self.fragments.note(packet, now)
        except RefusedError:
            return Outcome(Verdict(Action.DROP, Reason.FRAGMENT_REFUSED))
        if not packet.later_fragment:
            outcome = self._first_fragment(packet, datagram, now)
        elif datagram.fate is None:
            try:
                self.fragments.hold(packet, datagram)
            except HeldTooMuchError:
                return Outcome(Verdict(Action.DROP, Reason.FRAGMENT_LIMIT))
            return Outcome(Verdict(Action.DROP, Reason.FRAGMENT_HELD))
        else:
            outcome = self._follow_first(packet, datagram.fate, now)
        self.fragments.forget_if_complete(datagram)
        return outcome

    def _may_concern(self, packet: Packet) -> bool:
        """Whether a fragment may be part of a connection: to a VIP, or from a real server."""
        if packet.destination in self._own_addresses:
            return True
        source = packet.source
        return any(
            real_server.endpoint.ip.packed == source
            for virtual_server in self.virtual_servers.values()
            for real_server in virtual_server.real_servers
        )

    def _first_fragment(self, packet: Packet, datagram: Datagram, now: float) -> Outcome:
        if packet.protocol in {ICMP, ICMPV6}:
            ours = packet.destination in self._own_addresses
            drop = Verdict(Action.DROP, Reason.FRAGMENTED_ICMP)
            outcome = Outcome(drop if ours else _NOT_FOR_THE_SWITCH)
        else:
            outcome = self._whole(packet, now)
        action = outcome.verdict.action
        fate = Fate(
            Action.DROP if action is Action.REPLY else action, outcome.connection, outcome.direction
        )
        released = []
        for held in self.fragments.decide(datagram, fate):
            buffer = bytearray(held)
            verdict = self._follow_first(parse(buffer, 0, len(buffer)), fate, now).verdict
            self._counters[verdict.reason] += 1
            if verdict.action in {Action.FORWARD, Action.PASS}:
                released.append(bytes(buffer))
        verdict = outcome.verdict
        if released:
            verdict = verdict._replace(packets=(*verdict.packets, *released))
        return outcome._replace(verdict=verdict)

    def _follow_first(self, packet: Packet, fate: Fate, now: float) -> Outcome:
        """Do with a later fragment what was done with the first."""
        connection, direction = fate.connection, fate.direction
        if connection is not None and direction is not None:
            self._count(packet, connection, direction, now)
            to_server = direction is Direction.ORIGINAL
            rewrite_addresses(packet, connection.to_server if to_server else connection.to_client)
            return Outcome(_FRAGMENT, connection=connection, direction=direction)
        if fate.action is Action.PASS:
            return Outcome(_NOT_FOR_THE_SWITCH)
        return Outcome(Verdict(Action.DROP, Reason.FRAGMENT_OF_DROPPED))

    # -- ICMP ------------------------------------------------------------------------------

    def _icmp(self, packet: Packet) -> Outcome:
        if is_error(packet):
            return self._icmp_error(packet)
        kind = packet.buffer[packet.l4]
        ours = packet.destination in self._own_addresses
        if not ours or (packet.version == 6 and kind in icmp.V6_NEIGHBOUR_TYPES):
            return Outcome(_NOT_FOR_THE_SWITCH)
        if kind == (icmp.ECHO_REQUEST if packet.version == 4 else icmp.V6_ECHO_REQUEST):
            reply = answers.echo_reply(packet)
            return Outcome(Verdict(Action.REPLY, Reason.ECHO_TO_VIP, (reply,)))
        return Outcome(Verdict(Action.DROP, Reason.UNSUPPORTED_PROTOCOL))

    def _icmp_error(self, packet: Packet) -> Outcome:
        """Translate an error about a packet of a connection; it changes nothing else there."""
        quoted = quoted_packet(packet)
        if quoted is not None:
            key = reversed_key(quoted)
            connection = self.connections.find(quoted.protocol, key)
            if connection is not None:
                to_server = key == connection.original_key
                direction = Direction.ORIGINAL if to_server else Direction.REPLY
                translate_error(packet, quoted, connection, direction)
                return Outcome(_ICMP_ERROR, connection=connection, direction=direction)
        ours = packet.destination in self._own_addresses
        action = Action.DROP if ours else Action.PASS
        return Outcome(Verdict(action, Reason.UNKNOWN_ICMP_ERROR))

    # -- a packet of a known connection ----------------------------------------------------

    def _known(self, packet: Packet, connection: Connection, now: float) -> Outcome:
        to_server = packet.key == connection.original_key
        direction = Direction.ORIGINAL if to_server else Direction.REPLY
        if to_server and connection.real_server.severed:
            severed = self._severed(packet, connection, now)
            if severed is not None:
                return severed
        if _lacks_checksum(packet):
            return Outcome(_UDP_ZERO, connection=connection, direction=direction)
        verdict = _KNOWN
        old_state = connection.state
        if connection.protocol == TCP:
            segment = TCPHeader(packet.buffer, packet.l4)
            flags = segment.flags
            if to_server and connection.state in REUSABLE and _opens(flags):
                return self._port_reuse(packet, connection, now)
            if flags & tcp.RST and not _rst_is_credible(segment, connection, direction):
                verdict = _RST_OUT_OF_WINDOW
            else:
                self._follow(connection, direction, flags, now)
                if flags & tcp.ACK and not flags & tcp.RST:
                    if to_server:
                        connection.acked_by_client = segment.acknowledgement
                    else:
                        connection.acked_by_server = segment.acknowledgement
        self._forward(packet, connection, direction, now)
        return Outcome(verdict, None, connection, direction, old_state)

    def _follow(self, connection: Connection, direction: Direction, flags: int, now: float) -> None:
        """Bring the connection to the state that follows from this segment."""
        event = event_of(flags)
        if (
            event is Segment.ACK
            and direction is Direction.ORIGINAL
            and connection.acked_by_server == NOTHING_ACKED
        ):
            return
        old = connection.state
        new = next_state(old, direction, event)
        if new is not old:
            connection.last_seen = now
            self._change_state(connection, new, now)

    def _change_state(self, connection: Connection, new: State, now: float) -> None:
        old = connection.state
        connection.state = new
        connection.steady = new in STEADY
        if old in ACTIVE and new not in ACTIVE:
            connection.real_server.active -= 1
            connection.real_server.inactive += 1
        if old is State.SYN_RECV:
            self.connections.no_longer_half_open(connection)
        self._timers.arm(connection, now)
        if self.observer is not None:
            self._tell(ConnectionEvent(now, Stage.CHANGED, connection, old, new))

    def _forward(
        self, packet: Packet, connection: Connection, direction: Direction, now: float
    ) -> None:
        self._count(packet, connection, direction, now)
        to_server = direction is Direction.ORIGINAL
        rewrite(packet, connection.to_server if to_server else connection.to_client)

    def _count(
        self, packet: Packet, connection: Connection, direction: Direction, now: float
    ) -> None:
        tally = ONE_PACKET + packet.end - packet.start
        connection.last_seen = now
        if direction is Direction.ORIGINAL:
            connection.tally_to_server += tally
            connection.real_server.tally_to_server += tally
        else:
            connection.tally_to_client += tally
            connection.real_server.tally_to_client += tally

    def _severed(self, packet: Packet, connection: Connection, now: float) -> Outcome | None:
        """Handle a client's packet for a real server that is out of service, by `on_down`.

        UDP has no way to say no in mid-conversation: the datagram simply goes to another server.
        None for a RST, which needs no answer and closes as ever.
        """
        virtual_server = connection.real_server.virtual_server
        assert virtual_server is not None
        if connection.protocol == TCP:
            opens = _opens(packet.buffer[packet.l4 + 13])
            fresh = connection.state in REUSABLE or (
                connection.state is State.SYN_RECV and virtual_server.on_down == "reschedule"
            )
            if not (opens and fresh):
                if answers.reset(packet) is None:
                    return None
                self._forget(connection, now, "real server out of service")
                return self._reject(packet, Reason.REAL_SERVER_DOWN, virtual_server)
        self._forget(connection, now, "real server out of service")
        outcome = self._unknown(packet, now)
        if outcome.verdict is _NEW:
            return outcome._replace(verdict=_RESCHEDULED)
        return outcome

    def _port_reuse(self, packet: Packet, old: Connection, now: float) -> Outcome:
        """Let a SYN on the ports of a closed connection open a new one: that very SYN."""
        self._forget(old, now, "port reuse")
        outcome = self._unknown(packet, now)
        if outcome.verdict is _NEW:
            return outcome._replace(verdict=_PORT_REUSE)
        return outcome

    # -- a packet of no connection ---------------------------------------------------------

    def _unknown(self, packet: Packet, now: float) -> Outcome:
        key = packet.key
        address = packet.destination
        virtual_server = self._by_endpoint.get((packet.protocol, address, key[-2:]))
        if virtual_server is None:
            if address in self._own_addresses:
                return self._reject(packet, Reason.NO_VIRTUAL_SERVER)
            return Outcome(_NOT_FOR_THE_SWITCH)
        state = State.UDP
        if packet.protocol == TCP:
            state = State.SYN_RECV
            if not _opens(packet.buffer[packet.l4 + 13]):
                if self.settings.unknown_tcp == "drop":
                    return Outcome(Verdict(Action.DROP, Reason.UNKNOWN_TCP), virtual_server)
                if self.settings.unknown_tcp == "reset" or packet.buffer[packet.l4 + 13] & tcp.RST:
                    return self._reject(packet, Reason.UNKNOWN_TCP, virtual_server)
                state = State.ESTABLISHED
            source = packet.source
            limit = self.settings.max_half_open_per_source
            if state is State.SYN_RECV and 0 < limit <= self.connections.half_open_of(source):
                return Outcome(Verdict(Action.DROP, Reason.HALF_OPEN_LIMIT), virtual_server)
        elif _lacks_checksum(packet):
            return Outcome(_UDP_ZERO, virtual_server)
        real_server = self._choose(key, virtual_server, now)
        if real_server is None:
            return self._reject(packet, Reason.NO_REAL_SERVER, virtual_server)
        return self._open(packet, virtual_server, real_server, state, now)

    def _choose(self, key: bytes, virtual_server: VirtualServer, now: float) -> RealServer | None:
        """Pick the real server of a new connection; None when none is usable."""
        servers = virtual_server.usable_servers
        if not servers:
            return None
        scheduler, persistence = virtual_server.scheduler, virtual_server.persistence
        real_server = explanation = None
        if persistence is not None:
            real_server = persistence.recall(key, servers, now)
        if real_server is None:
            if self.observer is not None:
                explanation = scheduler.explain(key, servers)
            real_server = scheduler.choose(key, servers)
        if persistence is not None:
            persistence.remember(key, real_server, now)
        if self.observer is not None:
            others = tuple(each for each in virtual_server.real_servers if not each.usable)
            self._choice = Choice(real_server, explanation, servers, others)
        return real_server

    def _open(
        self,
        packet: Packet,
        virtual_server: VirtualServer,
        real_server: RealServer,
        state: State,
        now: float,
    ) -> Outcome:
        """Make the connection, put it into the table, and forward its first packet."""
        address, port = pack_endpoint(real_server.endpoint)
        translated = FlowKey.of(packet.key)._replace(destination=address, destination_port=port)
        one_packet = virtual_server.one_packet and packet.protocol == UDP
        if virtual_server.forward == "full_nat":
            source = virtual_server.snat.packed
            snat_port = self._allocate_port(packet.protocol, address + source + port)
            if snat_port is None:
                return self._reject(packet, Reason.PORT_POOL_EXHAUSTED, virtual_server)
            translated = translated._replace(
                source=source, source_port=snat_port.to_bytes(2, "big")
            )
            reply_key = reverse(translated.pack())
            to_server = Translation(packet.key, translated.pack())
            to_client = Translation(reply_key, reverse(packet.key))
        else:
            reply_key = reverse(translated.pack())
            if one_packet:
                known = self.connections.find(UDP, reply_key)
                if known is not None and known.original_key == packet.key:
                    self._forward(packet, known, Direction.ORIGINAL, now)
                    return Outcome(_ONE_PACKET, virtual_server, known, Direction.ORIGINAL)
            if real_server.translations is None:
                real_server.translations = (
                    Translation(packet.key, translated.pack()),
                    Translation(reply_key, reverse(packet.key)),
                )
            to_server, to_client = real_server.translations
        connection = Connection(
            packet.protocol, packet.key, reply_key, real_server, to_server, to_client, state, now
        )
        try:
            self._insert(connection, now, reply_only=one_packet)
        except KeyClashError:
            self._release_port(connection)
            return self._reject(packet, Reason.KEY_CLASH, virtual_server)
        except TableFullError:
            self._release_port(connection)
            return Outcome(Verdict(Action.DROP, Reason.TABLE_FULL), virtual_server)
        real_server.active += 1
        real_server.connections_total += 1
        self._timers.arm(connection, now)
        if self.observer is not None:
            self._tell(ConnectionEvent(now, Stage.OPENED, connection, None, state))
        self._forward(packet, connection, Direction.ORIGINAL, now)
        verdict = _ONE_PACKET if one_packet else _NEW
        return Outcome(verdict, virtual_server, connection, Direction.ORIGINAL)

    def _allocate_port(self, protocol: int, ends: bytes) -> int | None:
        pool = self._port_pools.get((protocol, ends))
        if pool is None:
            pool = self._port_pools[protocol, ends] = PortPool()
        return pool.allocate()

    def _release_port(self, connection: Connection) -> None:
        # A pool's key holds the source address of full NAT, which is no client's: none is found
        # for a connection of plain NAT.
        reply_key = connection.reply_key
        pool = self._port_pools.get((connection.protocol, reply_key[:-2]))
        if pool is not None:
            pool.release(int.from_bytes(reply_key[-2:], "big"))

    def _insert(self, connection: Connection, now: float, *, reply_only: bool) -> None:
        """Insert; what is closed already, or half-open when the table is full, gives way."""
        try:
            self.connections.insert(connection, reply_only=reply_only)
        except KeyClashError as clash:
            if clash.holder.state not in REUSABLE:
                raise
            self._forget(clash.holder, now, "its reply key was needed")
            self._insert(connection, now, reply_only=reply_only)
        except TableFullError:
            oldest = self.connections.oldest_half_open()
            if oldest is None:
                raise
            self._forget(oldest, now, "evicted: the table is full")
            self._insert(connection, now, reply_only=reply_only)

    def _reject(
        self, packet: Packet, reason: Reason, virtual_server: VirtualServer | None = None
    ) -> Outcome:
        """Say no to the sender: RST for TCP, port unreachable for UDP."""
        answer = (
            answers.reset(packet) if packet.protocol == TCP else answers.port_unreachable(packet)
        )
        if answer is None:
            return Outcome(Verdict(Action.DROP, reason), virtual_server)
        return Outcome(Verdict(Action.REPLY, reason, (answer,)), virtual_server)

    # -- the end of connections ------------------------------------------------------------

    def _forget(self, connection: Connection, now: float, cause: str) -> None:
        """Take a connection out of the table, the timers and the accounts."""
        self._timers.disarm(connection)
        self._remove(connection, now, cause)

    def _remove(self, connection: Connection, now: float, cause: str) -> None:
        self.connections.remove(connection)
        if connection.state in ACTIVE:
            connection.real_server.active -= 1
        else:
            connection.real_server.inactive -= 1
        if self._port_pools:
            self._release_port(connection)
        if self.observer is not None:
            state = connection.state
            self._tell(ConnectionEvent(now, Stage.CLOSED, connection, state, state, cause))

    def next_deadline(self) -> float | None:
        """When `handle_timers` is to be called next; None: not before another packet."""
        fragments = self.fragments.next_deadline()
        connections = self._timers.next_deadline()
        if fragments is None or connections is None:
            return connections if fragments is None else fragments
        return min(fragments, connections)

    def handle_timers(self, now: float) -> tuple[bytes, ...]:
        """Do what is due at `now`, a bounded amount of it; return packets to send.

        If more is left, `next_deadline` lies in the past.
        """
        for connection in self._timers.expired(now, EXPIRE_AT_ONCE):
            self._remove(connection, now, "timeout")
        for datagram in self.fragments.expire(now):
            self._counters[Reason.FRAGMENT_EXPIRED] += len(datagram.held)
        return ()


def _lacks_checksum(packet: Packet) -> bool:
    """Whether this is UDP over IPv6 without a checksum (RFC 8200, section 8.1: discard)."""
    if packet.protocol != UDP or packet.version != 6 or packet.partial:
        return False
    return UDPHeader(packet.buffer, packet.l4).checksum == 0


def _opens(flags: int) -> bool:
    """Whether a segment asks for a new connection: SYN, without ACK or RST."""
    return flags & (tcp.SYN | tcp.ACK | tcp.RST) == tcp.SYN


def _rst_is_credible(segment: TCPHeader, connection: Connection, direction: Direction) -> bool:
    """Whether a RST is near what the other side acknowledged last (compare RFC 5961, section 3).

    Before anything was acknowledged every RST counts: it refuses the connection.
    """
    acked = (
        connection.acked_by_server
        if direction is Direction.ORIGINAL
        else connection.acked_by_client
    )
    if acked == NOTHING_ACKED:
        return True
    distance = (segment.sequence - acked) & 0xFFFFFFFF
    return min(distance, 0x100000000 - distance) <= RST_DISTANCE
