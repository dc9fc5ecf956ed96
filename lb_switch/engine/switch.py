"""The engine: what happens to a packet, in packet order.

    parse -> connection lookup -> (miss: virtual server -> schedule -> translate -> insert)
          -> rewrite -> verdict

It does no I/O, reads no clock and draws no random number: a packet and the time come in, a verdict
goes out.  Live captures, the replay of a recording, tests and benchmarks run this same code.

A packet takes one of two roads.  The short road (`lb_switch.engine.short_road`) is for the ordinary
packets of a known connection; everything else takes the readable road below.  Tests prove that
both give the same bytes, states and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from lb_switch.engine.bookkeeping import Bookkeeping, PortPoolExhaustedError
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.fragments import FragmentTracker
from lb_switch.engine.connections.queues import Queues
from lb_switch.engine.connections.table import ConnectionTable, KeyClashError, TableFullError
from lb_switch.engine.connections.tcp_state import REUSABLE, Direction, State
from lb_switch.engine.connections.unsettled import CUT
from lb_switch.engine.events import Choice, Event, PacketEvent, ServerEvent
from lb_switch.engine.fragment_road import FragmentRoad
from lb_switch.engine.nat import answers
from lb_switch.engine.nat.answer_limit import Answer, AnswerLimit
from lb_switch.engine.nat.icmp_error import is_error, quoted_packet, reversed_key, translate_error
from lb_switch.engine.nat.identification import Identifications
from lb_switch.engine.nat.rewrite import rewrite
from lb_switch.engine.outcome import (
    ICMP_ERROR,
    KNOWN,
    NEW,
    NOT_FOR_THE_SWITCH,
    ONE_PACKET,
    PORT_REUSE,
    RESCHEDULED,
    RST_OUT_OF_WINDOW,
    UDP_ZERO,
    Outcome,
    drop,
)
from lb_switch.engine.packet import icmp, tcp
from lb_switch.engine.packet.damage import is_damaged
from lb_switch.engine.packet.flow_key import pack_endpoint
from lb_switch.engine.packet.nobody import is_nobodys
from lb_switch.engine.packet.parse import Packet, ParseError, parse
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP, UDP
from lb_switch.engine.packet.udp import UDPHeader
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.severing import Severing
from lb_switch.engine.short_road import ShortRoad
from lb_switch.engine.tcp_tracking import TCPTracker, opens, reuses_ports
from lb_switch.engine.verdict import Action, Reason, Verdict

__all__ = ["Settings", "Switch"]

OTHERS = 16
"""Further real servers that are tried for one new connection, at the most."""
EXPIRE_AT_ONCE = 1000
"""Connections looked at in one call of `handle_timers`: about a millisecond of work."""


class Switch:
    """An L4 switch: virtual servers in, verdicts out."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.virtual_servers: dict[str, VirtualServer] = {}
        self.connections = ConnectionTable(
            self.settings.max_connections,
            count_half_open_by_source=self.settings.max_half_open_per_source > 0,
        )
        self.queues = Queues(self.settings.timeouts)
        self._observer: Callable[[Event], None] | None = None
        self._books = Bookkeeping(
            self.connections, self.queues, self.settings.snat_ports, self.settings.port_secret
        )
        self._by_endpoint: dict[tuple[int, bytes, bytes], VirtualServer] = {}
        self._own_addresses: Counter[bytes] = Counter()
        """VIPs and source addresses of full NAT: what comes here is the switch's to decide."""
        self._retired: list[VirtualServer] = []
        """Removed ones that had connections when the last one was removed."""
        self._host_addresses: frozenset[bytes] = frozenset()
        self._answer_limit = AnswerLimit(self.settings.answers_per_second)
        self._counters = dict.fromkeys(Reason, 0)
        self._tracker = TCPTracker(self._books)
        self._severing = Severing(self.connections, self._books)
        self._identifications = Identifications(self.settings.port_secret)
        self._short_road = ShortRoad(self.connections, self._tracker, self._identifications)
        self._fragment_road = FragmentRoad(FragmentTracker(), self._whole, self._may_concern)
        self._told = 0
        self._choice: Choice | None = None
        """Why the packet at hand goes where it goes; only while somebody listens."""

    @property
    def observer(self) -> Callable[[Event], None] | None:
        """Whom everything is told that happens; None: nobody, and nothing is built to be told."""
        return self._observer

    @observer.setter
    def observer(self, observer: Callable[[Event], None] | None) -> None:
        self._observer = self._books.observer = self._severing.observer = observer

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
        self._retired = [each for each in self._retired if each is not virtual_server]
        self.virtual_servers[virtual_server.name] = virtual_server
        self._by_endpoint[place] = virtual_server
        virtual_server.on_refresh = self._severing.review
        self._own_addresses.update((address, *(ip.packed for ip in virtual_server.snats)))

    def remove_virtual_server(self, virtual_server: VirtualServer) -> None:
        """Take no new connections for it; live ones go on."""
        address, port = pack_endpoint(virtual_server.endpoint)
        del self.virtual_servers[virtual_server.name]
        del self._by_endpoint[virtual_server.protocol, address, port]
        self._own_addresses.subtract((address, *(ip.packed for ip in virtual_server.snats)))
        self._own_addresses += Counter()
        self._retired = [each for each in (*self._retired, virtual_server) if each.has_connections]

    # -- settings --------------------------------------------------------------------------

    def change_settings(self, settings: Settings) -> None:
        """Take other settings from now on; connections stay.

        A shorter timeout also holds for the connections there are, but each is looked at when its
        bucket of the timer wheel comes due: 64 seconds after the change at the latest.

        Raises ValueError, and changes nothing, where the table would have to be made anew or
        would be over its bound.
        """
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
        self.settings = settings
        table.max_connections = settings.max_connections
        self._books.change_timeouts(settings.timeouts)
        self._answer_limit.change(settings.answers_per_second)

    def note_host_addresses(self, addresses: frozenset[bytes]) -> None:
        """Take for forged what is sent to a VIP from these addresses (packed) of this machine."""
        self._host_addresses = addresses

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
        self._severing.now = now
        virtual_server.refresh()
        self._tell(ServerEvent(now, virtual_server, real_server, cause))

    # -- counters --------------------------------------------------------------------------

    @property
    def fragments(self) -> FragmentTracker:
        """The datagrams that are under way in fragments."""
        return self._fragment_road.tracker

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
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool = False
    ) -> Verdict:
        """Decide on the IP packet at `buffer[start:start + length]`, rewriting it in place.

        `now` is in seconds, on any clock that never goes back.  `partial` says that the L4
        checksum field holds only the pseudo-header sum, as a capture with checksum offload
        delivers it; it leaves in the same form.
        """
        if self._observer is not None:
            return self._handle_observed(buffer, start, length, now, partial)
        if self._short_road.take(buffer, start, length, now, partial):
            return KNOWN
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
            if not connection.is_over:
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
        if self._observer is not None:
            self._observer(event)

    def _readable_road(
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Outcome:
        try:
            packet = parse(buffer, start, length, partial)
        except ParseError as error:
            return drop(error.reason)
        if packet.fragment is None:
            return self._whole(packet, now)
        outcome, waited = self._fragment_road.take(packet, now)
        for each in waited:
            self._counters[each.verdict.reason] += 1
        return outcome

    def _whole(self, packet: Packet, now: float) -> Outcome:
        """Decide on a packet that has its L4 header: not a fragment, or the first one."""
        if packet.key:
            connection = self.connections.find(packet.protocol, packet.key)
            if connection is not None:
                return self._known(packet, connection, now)
            return self._unknown(packet, now)
        if packet.protocol in {ICMP, ICMPV6}:
            return self._icmp(packet, now)
        if packet.destination in self._own_addresses:
            return drop(Reason.UNSUPPORTED_PROTOCOL)
        return NOT_FOR_THE_SWITCH

    def _may_concern(self, packet: Packet) -> bool:
        """Whether a fragment may be part of a connection: to a VIP, or from a real server.

        That includes what was removed and has connections still.
        """
        source, destination = packet.source, packet.destination
        if destination in self._own_addresses:
            return True
        if any(source in each.addresses for each in self.virtual_servers.values()):
            return True
        return any(
            source in each.addresses
            or destination in {ip.packed for ip in (each.endpoint.ip, *each.snats)}
            for each in self._retired
        )

    # -- ICMP ------------------------------------------------------------------------------

    def _icmp(self, packet: Packet, now: float) -> Outcome:
        if packet.fragment is not None:
            ours = packet.destination in self._own_addresses
            return drop(Reason.FRAGMENTED_ICMP) if ours else NOT_FOR_THE_SWITCH
        if is_error(packet):
            return self._icmp_error(packet)
        kind = packet.buffer[packet.l4]
        ours = packet.destination in self._own_addresses
        if not ours or (packet.version == 6 and kind in icmp.V6_NEIGHBOUR_TYPES):
            return NOT_FOR_THE_SWITCH
        echo = (ICMP, icmp.ECHO_REQUEST) if packet.version == 4 else (ICMPV6, icmp.V6_ECHO_REQUEST)
        if (packet.protocol, kind) == echo:
            if self._is_forged(packet.source):
                return drop(Reason.FORGED_SOURCE)
            if is_damaged(packet):
                return drop(Reason.BAD_CHECKSUM)
            if not self._answer_limit.allows(Answer.ECHO_REPLY, now):
                return drop(Reason.ANSWER_LIMIT)
            reply = answers.echo_reply(packet)
            return Outcome(Verdict(Action.REPLY, Reason.ECHO_TO_VIP, (reply,)))
        return drop(Reason.UNSUPPORTED_PROTOCOL)

    def _icmp_error(self, packet: Packet) -> Outcome:
        """Translate an error about a packet of a connection; it changes nothing else there."""
        quoted = quoted_packet(packet)
        if quoted is not None:
            key = reversed_key(quoted)
            connection = self.connections.find(quoted.protocol, key)
            if connection is None and quoted.protocol == UDP:
                connection = self._last_to_answer(key)
            if connection is not None:
                # (This machine's own errors come by here too, from any address that it has.)
                if is_nobodys(packet.source):
                    return drop(Reason.FORGED_SOURCE)
                to_server = key == connection.original_key
                direction = Direction.ORIGINAL if to_server else Direction.REPLY
                original_key, reply_key = connection.original_key, connection.reply_key
                translate_error(packet, quoted, original_key, reply_key, to_server=to_server)
                self._identifications.renew(packet)
                return Outcome(ICMP_ERROR, connection=connection, direction=direction)
        ours = packet.destination in self._own_addresses
        action = Action.DROP if ours else Action.PASS
        return Outcome(Verdict(action, Reason.UNKNOWN_ICMP_ERROR))

    def _last_to_answer(self, key: bytes) -> Connection | None:
        """Find who last answered the client of this original flow key, in a one-packet group.

        Several real servers may be answering one client socket, and an error quotes what any of
        them has sent.  It is the last one's, if answers do not overlap; else the next error is.
        """
        half = (len(key) - 4) // 2
        group = self._by_endpoint.get((UDP, key[half:-4], key[-2:]))
        last = None
        if group is not None and group.one_packet:
            for server in (*group.real_servers, *group.lingering):
                rip, port = server.packed
                found = self.connections.find(UDP, rip + key[:half] + port + key[-4:-2])
                if found is not None and found.original_key == key and found.answered:
                    last = found if last is None or found.last_seen >= last.last_seen else last
        return last

    # -- a packet of a known connection ----------------------------------------------------

    def _known(self, packet: Packet, connection: Connection, now: float) -> Outcome:
        to_server = packet.key == connection.original_key
        direction = Direction.ORIGINAL if to_server else Direction.REPLY
        if connection.unsettled is CUT or (to_server and connection.real_server.severed):
            severed = self._severed(packet, connection, now)
            if severed is not None:
                return severed
        if _lacks_checksum(packet):
            return Outcome(UDP_ZERO, connection=connection, direction=direction)
        verdict = KNOWN
        old_state = connection.state
        if connection.protocol == TCP:
            reuse = to_server and reuses_ports(packet.buffer[packet.l4 + 13], connection)
            if reuse and not is_damaged(packet):
                return self._port_reuse(packet, connection, now)
            if not self._follow(packet, connection, to_server, now):
                verdict = RST_OUT_OF_WINDOW
        self._forward(packet, connection, direction, now)
        return Outcome(verdict, None, connection, direction, old_state)

    def _follow(self, packet: Packet, connection: Connection, to_server: bool, now: float) -> bool:
        # The checksum of a first fragment covers the others as well.
        unverifiable = packet.partial or packet.fragment is not None
        return self._tracker.follow(
            connection, to_server, packet.buffer, packet.l4, packet.end, now, unverifiable
        )

    def _forward(
        self, packet: Packet, connection: Connection, direction: Direction, now: float
    ) -> None:
        connection.count(direction, packet.end - packet.start, now)
        rewrite(packet, connection.translation(direction))
        self._identifications.renew(packet)

    def _severed(self, packet: Packet, connection: Connection, now: float) -> Outcome | None:
        """Handle a client's packet for a real server that is out of service, by `on_down`.

        Likewise a packet of either side where the client was cut off already.  UDP has no way to
        say no in mid-conversation: the datagram simply goes to another server.  None for a RST,
        which needs no answer and closes as ever.
        """
        virtual_server = connection.real_server.virtual_server
        assert virtual_server is not None
        if is_damaged(packet):
            return drop(Reason.BAD_CHECKSUM, virtual_server)
        if connection.protocol == TCP:
            asks = opens(packet.buffer[packet.l4 + 13]) and packet.key == connection.original_key
            if asks and not connection.real_server.severed:
                return None  # It is back in service, and may be asked again.
            fresh = connection.state in REUSABLE or (
                connection.state is State.SYN_RECV and virtual_server.on_down == "reschedule"
            )
            if not (asks and fresh):
                if packet.buffer[packet.l4 + 13] & tcp.RST:
                    return None
                return self._cut(packet, connection, now)
        self._books.forget(connection, now, "real server out of service")
        outcome = self._unknown(packet, now)
        if outcome.verdict is NEW:
            return outcome._replace(verdict=RESCHEDULED)
        return outcome

    def _cut(self, packet: Packet, connection: Connection, now: float) -> Outcome:
        """Answer with a RST, and end the connection for the other side too."""
        group = connection.real_server.virtual_server
        outcome = self._reject(packet, now, Reason.REAL_SERVER_DOWN, group)
        verdict = outcome.verdict
        if verdict.action is not Action.REPLY:
            return outcome
        old_state = connection.state
        if packet.key == connection.reply_key:
            self._books.forget(connection, now, "real server out of service")
            return Outcome(verdict, group, connection, Direction.REPLY, old_state)
        told = self._severing.cut(connection, packet, now)
        verdict = verdict._replace(packets=(*verdict.packets, *told))
        return Outcome(verdict, group, connection, Direction.ORIGINAL, old_state)

    def _port_reuse(self, packet: Packet, old: Connection, now: float) -> Outcome:
        """Let a SYN on the ports of a closed connection open a new one: that very SYN."""
        self._books.forget(old, now, "port reuse")
        outcome = self._unknown(packet, now)
        if outcome.verdict is NEW:
            return outcome._replace(verdict=PORT_REUSE)
        return outcome

    # -- a packet of no connection ---------------------------------------------------------

    def _unknown(self, packet: Packet, now: float) -> Outcome:
        key = packet.key
        half = (len(key) - 4) // 2
        source, address = key[:half], key[half:-4]
        if address not in self._own_addresses:
            begins = packet.protocol == TCP and bool(packet.buffer[packet.l4 + 13] & tcp.SYN)
            if self._books.has_ended(packet.protocol, key, now, begins=begins):
                return drop(Reason.ENDED_CONNECTION)
            return NOT_FOR_THE_SWITCH
        virtual_server = self._by_endpoint.get((packet.protocol, address, key[-2:]))
        if self._is_forged(source):
            return drop(Reason.FORGED_SOURCE, virtual_server)
        if virtual_server is None:
            return self._reject(packet, now, Reason.NO_VIRTUAL_SERVER)
        state = State.UDP
        if packet.protocol == TCP:
            state = State.SYN_RECV
            if not opens(packet.buffer[packet.l4 + 13]):
                if self.settings.unknown_tcp == "drop":
                    return drop(Reason.UNKNOWN_TCP, virtual_server)
                if self.settings.unknown_tcp == "reset" or packet.buffer[packet.l4 + 13] & tcp.RST:
                    return self._reject(packet, now, Reason.UNKNOWN_TCP, virtual_server)
                state = State.ESTABLISHED
            limit = self.settings.max_half_open_per_source
            if state is State.SYN_RECV and 0 < limit <= self.connections.half_open_of(source):
                return drop(Reason.HALF_OPEN_LIMIT, virtual_server)
        elif _lacks_checksum(packet):
            return Outcome(UDP_ZERO, virtual_server)
        real_server, bound = self._choose(key, virtual_server, now)
        if real_server is None:
            return self._reject(packet, now, Reason.NO_REAL_SERVER, virtual_server)
        return self._open(packet, virtual_server, real_server, state, now, bound)

    def _is_forged(self, source: bytes) -> bool:
        """Whether nobody who sends to a VIP can have this address (RFC 1122, section 3.2.1.3)."""
        return is_nobodys(source) or source in self._own_addresses or source in self._host_addresses

    def _choose(
        self, key: bytes, virtual_server: VirtualServer, now: float
    ) -> tuple[RealServer | None, bool]:
        """Pick the real server of a new connection, None when none is usable.

        The other part says whether persistence binds the client to it.
        """
        servers = virtual_server.usable_servers
        if not servers:
            return None, False
        scheduler, persistence = virtual_server.scheduler, virtual_server.persistence
        real_server = explanation = None
        if persistence is not None:
            real_server = persistence.recall(key, servers, now)
        bound = real_server is not None
        if real_server is None:
            if self._observer is not None:
                explanation = scheduler.explain(key, servers)
            real_server = scheduler.choose(key, servers)
        if self._observer is not None:
            others = tuple(each for each in virtual_server.real_servers if not each.usable)
            self._choice = Choice(real_server, explanation, servers, others)
        return real_server, bound

    def _open(
        self,
        packet: Packet,
        virtual_server: VirtualServer,
        real_server: RealServer,
        state: State,
        now: float,
        bound: bool,
    ) -> Outcome:
        """Open the connection and forward its first packet.

        Where this real server cannot have it, others are tried, unless the client is `bound` to it
        by persistence: that one is told no, and comes again from another port.
        """
        refused = Reason.KEY_CLASH
        others: Iterator[RealServer] | None = None
        while True:
            try:
                connection = self._books.open(
                    packet.protocol, packet.key, virtual_server, real_server, state, now
                )
                break
            except TableFullError:
                return drop(Reason.TABLE_FULL, virtual_server)
            except (KeyClashError, PortPoolExhaustedError) as error:
                if others is None:
                    if isinstance(error, PortPoolExhaustedError):
                        refused = Reason.PORT_POOL_EXHAUSTED
                    others = iter(() if bound else virtual_server.usable_after(real_server, OTHERS))
                another = next(others, None)
                if another is None:
                    return self._reject(packet, now, refused, virtual_server)
                if self._choice is not None:
                    full = isinstance(error, PortPoolExhaustedError)
                    trouble = "no source port is free" if full else "the client's port is in use"
                    self._choice = self._choice.instead(another, trouble)
                real_server = another
        if state is State.SYN_RECV:
            self._tracker.begin(connection, packet.buffer, packet.l4)
        elif state is State.ESTABLISHED:  # in mid-stream, or at its end
            self._follow(packet, connection, True, now)
        self._forward(packet, connection, Direction.ORIGINAL, now)
        one_packet = virtual_server.one_packet and packet.protocol == UDP
        verdict = ONE_PACKET if one_packet else NEW
        return Outcome(verdict, virtual_server, connection, Direction.ORIGINAL)

    def _reject(
        self,
        packet: Packet,
        now: float,
        reason: Reason,
        virtual_server: VirtualServer | None = None,
    ) -> Outcome:
        """Say no to the sender: RST for TCP, port unreachable for UDP."""
        if _lacks_checksum(packet):
            return Outcome(UDP_ZERO, virtual_server)
        if is_damaged(packet):
            return drop(Reason.BAD_CHECKSUM, virtual_server)
        is_tcp = packet.protocol == TCP
        if is_tcp and packet.buffer[packet.l4 + 13] & tcp.RST:
            return drop(reason, virtual_server)
        if not self._answer_limit.allows(Answer.RESET if is_tcp else Answer.ICMP_ERROR, now):
            return drop(Reason.ANSWER_LIMIT, virtual_server)
        answer = answers.reset(packet) if is_tcp else answers.port_unreachable(packet)
        return Outcome(Verdict(Action.REPLY, reason, (answer,)), virtual_server)

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


def _lacks_checksum(packet: Packet) -> bool:
    """Whether this is UDP over IPv6 without a checksum (RFC 8200, section 8.1: discard)."""
    if packet.protocol != UDP or packet.version != 6 or packet.partial:
        return False
    return UDPHeader(packet.buffer, packet.l4).checksum == 0
