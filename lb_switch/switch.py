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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from lb_switch.connections.connection import NOTHING_ACKED, Connection
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
from lb_switch.events import Event, PacketEvent, ServerEvent
from lb_switch.nat import answers
from lb_switch.nat.rewrite import rewrite
from lb_switch.nat.translation import Translation
from lb_switch.packet import icmp, tcp
from lb_switch.packet.flow_key import FlowKey, pack_endpoint, reverse
from lb_switch.packet.parse import Packet, ParseError, parse
from lb_switch.packet.tcp import TCPHeader
from lb_switch.servers import TCP, AdminState, RealServer, VirtualServer
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
    unknown_tcp: Literal["reset", "drop", "schedule"] = "reset"
    timeouts: dict[State, float] = field(default_factory=lambda: dict(DEFAULT_TIMEOUTS))


class Outcome(NamedTuple):
    """A verdict and whom it is about."""

    verdict: Verdict
    virtual_server: VirtualServer | None = None
    connection: Connection | None = None
    direction: Direction | None = None


_KNOWN = Verdict(Action.FORWARD, Reason.KNOWN_CONNECTION)
_NEW = Verdict(Action.FORWARD, Reason.NEW_CONNECTION)
_RESCHEDULED = Verdict(Action.FORWARD, Reason.RESCHEDULED)
_PORT_REUSE = Verdict(Action.FORWARD, Reason.PORT_REUSE)
_RST_OUT_OF_WINDOW = Verdict(Action.FORWARD, Reason.RST_OUT_OF_WINDOW)
_NOT_FOR_THE_SWITCH = Verdict(Action.PASS, Reason.NOT_FOR_THE_SWITCH)


class Switch:
    """An L4 switch: virtual servers in, verdicts out."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.virtual_servers: dict[str, VirtualServer] = {}
        self.connections = ConnectionTable(self.settings.max_connections)
        self.observer: Callable[[Event], None] | None = None
        self._timers = TimerWheel(self.settings.timeouts)
        self._by_endpoint: dict[tuple[int, bytes, bytes], VirtualServer] = {}
        self._vips: dict[bytes, int] = {}
        self._counters = dict.fromkeys(Reason, 0)
        self._short_road = ShortRoad(self.connections)

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
        self._vips[address] = self._vips.get(address, 0) + 1

    def remove_virtual_server(self, virtual_server: VirtualServer) -> None:
        """Take no new connections for it; live ones go on."""
        address, port = pack_endpoint(virtual_server.endpoint)
        del self.virtual_servers[virtual_server.name]
        del self._by_endpoint[virtual_server.protocol, address, port]
        self._vips[address] -= 1
        if not self._vips[address]:
            del self._vips[address]

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
        if self.observer is not None:
            self.observer(ServerEvent(now, virtual_server, real_server, cause))

    # -- counters --------------------------------------------------------------------------

    @property
    def counters(self) -> dict[Reason, int]:
        """Packets by reason; every packet is counted once."""
        counters = dict(self._counters)
        counters[Reason.KNOWN_CONNECTION] += self._short_road.packets
        return counters

    def note_internal_error(self) -> Verdict:
        """Count a packet whose handling raised, for the capture that caught the exception."""
        return self._end(0.0, Outcome(Verdict(Action.DROP, Reason.INTERNAL_ERROR)))

    def note_cut_packet(self) -> Verdict:
        """Count a packet of which the capture has only the beginning."""
        return self._end(0.0, Outcome(Verdict(Action.DROP, Reason.CUT_BY_CAPTURE)))

    # -- packets ---------------------------------------------------------------------------

    def handle_packet(
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool = False
    ) -> Verdict:
        """Decide on the IP packet at `buffer[start:start + length]`, rewriting it in place.

        `now` is in seconds, on any clock that never goes back.  `partial` says that the L4
        checksum field holds only the pseudo-header sum, as a capture with checksum offload
        delivers it; it leaves in the same form.
        """
        if self.observer is None and self._short_road.take(buffer, start, length, now, partial):
            return _KNOWN
        return self._end(now, self._readable_road(buffer, start, length, now, partial))

    def _end(self, now: float, outcome: Outcome) -> Verdict:
        verdict, virtual_server, connection, direction = outcome
        self._counters[verdict.reason] += 1
        if self.observer is not None:
            state = None if connection is None else connection.state
            if virtual_server is None and connection is not None:
                virtual_server = connection.real_server.virtual_server
            self.observer(PacketEvent(now, verdict, virtual_server, connection, direction, state))
        return verdict

    def _readable_road(
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Outcome:
        try:
            packet = parse(buffer, start, length, partial)
        except ParseError as error:
            return Outcome(Verdict(Action.DROP, error.reason))
        if packet.fragment:
            return self._fragment(packet)
        if packet.key:
            connection = self.connections.find(packet.protocol, packet.key)
            if connection is not None:
                return self._known(packet, connection, now)
            return self._unknown(packet, now)
        if packet.protocol in {icmp.ICMP, icmp.ICMPV6}:
            return self._icmp(packet)
        if packet.destination in self._vips:
            return Outcome(Verdict(Action.DROP, Reason.UNSUPPORTED_PROTOCOL))
        return Outcome(_NOT_FOR_THE_SWITCH)

    def _fragment(self, packet: Packet) -> Outcome:
        if packet.destination in self._vips:
            return Outcome(Verdict(Action.DROP, Reason.FRAGMENT))
        return Outcome(_NOT_FOR_THE_SWITCH)

    def _icmp(self, packet: Packet) -> Outcome:
        if packet.destination in self._vips:
            kind = packet.buffer[packet.l4]
            if kind == (icmp.ECHO_REQUEST if packet.version == 4 else icmp.V6_ECHO_REQUEST):
                reply = answers.echo_reply(packet)
                return Outcome(Verdict(Action.REPLY, Reason.ECHO_TO_VIP, (reply,)))
            return Outcome(Verdict(Action.DROP, Reason.UNSUPPORTED_PROTOCOL))
        return Outcome(_NOT_FOR_THE_SWITCH)

    # -- a packet of a known connection ----------------------------------------------------

    def _known(self, packet: Packet, connection: Connection, now: float) -> Outcome:
        to_server = packet.key == connection.original_key
        direction = Direction.ORIGINAL if to_server else Direction.REPLY
        if to_server and connection.real_server.severed:
            severed = self._severed(packet, connection, now)
            if severed is not None:
                return severed
        verdict = _KNOWN
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
        return Outcome(verdict, connection=connection, direction=direction)

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

    def _forward(
        self, packet: Packet, connection: Connection, direction: Direction, now: float
    ) -> None:
        length = ONE_PACKET + packet.end - packet.start
        connection.last_seen = now
        if direction is Direction.ORIGINAL:
            connection.tally_to_server += length
            connection.real_server.tally_to_server += length
            rewrite(packet, connection.to_server)
        else:
            connection.tally_to_client += length
            connection.real_server.tally_to_client += length
            rewrite(packet, connection.to_client)

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
                self._forget(connection)
                return self._reject(packet, Reason.REAL_SERVER_DOWN, virtual_server)
        self._forget(connection)
        outcome = self._unknown(packet, now)
        if outcome.verdict is _NEW:
            return outcome._replace(verdict=_RESCHEDULED)
        return outcome

    def _port_reuse(self, packet: Packet, old: Connection, now: float) -> Outcome:
        """Let a SYN on the ports of a closed connection open a new one: that very SYN."""
        self._forget(old)
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
            if address in self._vips:
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
        servers = virtual_server.usable_servers
        if not servers:
            return self._reject(packet, Reason.NO_REAL_SERVER, virtual_server)
        real_server = virtual_server.scheduler.choose(key, servers)
        return self._open(packet, virtual_server, real_server, state, now)

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
        reply_key = reverse(translated.pack())
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
            self._insert(connection)
        except KeyClashError:
            return self._reject(packet, Reason.KEY_CLASH, virtual_server)
        except TableFullError:
            return Outcome(Verdict(Action.DROP, Reason.TABLE_FULL), virtual_server)
        real_server.active += 1
        real_server.connections_total += 1
        self._timers.arm(connection, now)
        self._forward(packet, connection, Direction.ORIGINAL, now)
        return Outcome(_NEW, virtual_server, connection, Direction.ORIGINAL)

    def _insert(self, connection: Connection) -> None:
        """Insert; what is closed already, or half-open when the table is full, gives way."""
        try:
            self.connections.insert(connection)
        except KeyClashError as clash:
            if clash.holder.state not in REUSABLE:
                raise
            self._forget(clash.holder)
            self._insert(connection)
        except TableFullError:
            oldest = self.connections.oldest_half_open()
            if oldest is None:
                raise
            self._forget(oldest)
            self._insert(connection)

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

    def _forget(self, connection: Connection) -> None:
        """Take a connection out of the table, the timers and the accounts."""
        self.connections.remove(connection)
        self._timers.disarm(connection)
        self._uncount(connection)

    def _uncount(self, connection: Connection) -> None:
        if connection.state in ACTIVE:
            connection.real_server.active -= 1
        else:
            connection.real_server.inactive -= 1

    def next_deadline(self) -> float | None:
        """When `handle_timers` is to be called next; None: not before another packet."""
        return self._timers.next_deadline()

    def handle_timers(self, now: float) -> tuple[bytes, ...]:
        """Do what is due at `now`, a bounded amount of it; return packets to send.

        If more is left, `next_deadline` lies in the past.
        """
        for connection in self._timers.expired(now, EXPIRE_AT_ONCE):
            self.connections.remove(connection)
            self._uncount(connection)
        return ()


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
