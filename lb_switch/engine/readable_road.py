"""The readable road: what happens to a packet, step by step, in packet order.

    parse -> connection lookup -> (miss: virtual server -> schedule -> translate -> insert)
          -> rewrite -> outcome

Every packet can take it.  The short road (`short_road`) does the same, faster, for the ordinary
packets of a known connection; tests prove that both give the same bytes, states and counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.engine.bookkeeping import Bookkeeping, PortPoolExhaustedError
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.fragments import FragmentTracker
from lb_switch.engine.connections.table import ConnectionTable, KeyClashError, TableFullError
from lb_switch.engine.connections.tcp_state import REUSABLE, Direction, State
from lb_switch.engine.connections.unsettled import CUT
from lb_switch.engine.directory import Directory
from lb_switch.engine.events import Cause
from lb_switch.engine.fragment_road import FragmentRoad
from lb_switch.engine.nat import answers
from lb_switch.engine.nat.answer_limit import Answer, AnswerLimit
from lb_switch.engine.nat.icmp_error import is_error, quoted_packet, reversed_key, translate_error
from lb_switch.engine.nat.identification import DONT_FRAGMENT, Identifications
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
    Choice,
    Outcome,
    drop,
)
from lb_switch.engine.packet import icmp, tcp
from lb_switch.engine.packet.damage import is_damaged
from lb_switch.engine.packet.nobody import is_nobodys
from lb_switch.engine.packet.parse import Packet, ParseError, parse
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP, UDP
from lb_switch.engine.packet.udp import UDPHeader
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.severing import Severing
from lb_switch.engine.tcp_tracking import TCPTracker, opens, reuses_ports
from lb_switch.engine.verdict import Action, Reason, Verdict

OTHERS = 16
"""Further real servers that are tried for one new connection, at the most."""


class ReadableRoad:
    """Decides on any packet.

    `directory` says for whom it is, `connections` which are known, `books` opens and ends them,
    `tracker` follows TCP, `severing` and `answer_limit` bound what the switch says itself.
    `counters` counts what became of fragments that waited.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        connections: ConnectionTable,
        books: Bookkeeping,
        tracker: TCPTracker,
        severing: Severing,
        identifications: Identifications,
        counters: dict[Reason, int],
    ) -> None:
        self.settings = settings
        self.answer_limit = AnswerLimit(settings.answers_per_second)
        self._directory = directory
        self._connections = connections
        self._books = books
        self._tracker = tracker
        self._severing = severing
        self._identifications = identifications
        self._counters = counters
        self._fragment_road = FragmentRoad(FragmentTracker(), self._whole, directory.may_concern)

    @property
    def fragments(self) -> FragmentTracker:
        """The datagrams that are under way in fragments."""
        return self._fragment_road.tracker

    def take(
        self,
        buffer: bytearray,
        start: int,
        length: int,
        now: float,
        partial: bool,
        explained: bool = False,
    ) -> Outcome:
        """Decide on the IP packet at `buffer[start:start + length]`, rewriting it in place.

        `explained`: the outcome of a new connection says why its real server was chosen.
        """
        try:
            packet = parse(buffer, start, length, partial)
        except ParseError as error:
            return drop(error.reason)
        if packet.fragment is None:
            return self._whole(packet, now, explained)
        outcome, waited = self._fragment_road.take(packet, now, explained)
        for each in waited:
            self._counters[each.verdict.reason] += 1
        return outcome

    def _whole(self, packet: Packet, now: float, explained: bool) -> Outcome:
        """Decide on a packet that has its L4 header: not a fragment, or the first one."""
        if packet.key:
            connection = self._connections.find(packet.protocol, packet.key)
            if connection is not None:
                return self._known(packet, connection, now, explained)
            return self._unknown(packet, now, explained)
        if packet.protocol in {ICMP, ICMPV6}:
            return self._icmp(packet, now)
        if packet.destination in self._directory.own_addresses:
            return drop(Reason.UNSUPPORTED_PROTOCOL)
        return NOT_FOR_THE_SWITCH

    # -- ICMP ------------------------------------------------------------------------------

    def _icmp(self, packet: Packet, now: float) -> Outcome:
        if packet.fragment is not None:
            ours = packet.destination in self._directory.own_addresses
            return drop(Reason.FRAGMENTED_ICMP) if ours else NOT_FOR_THE_SWITCH
        if is_error(packet):
            return self._icmp_error(packet, now)
        kind = packet.buffer[packet.l4]
        ours = packet.destination in self._directory.own_addresses
        if not ours or (packet.version == 6 and kind in icmp.V6_NEIGHBOUR_TYPES):
            return NOT_FOR_THE_SWITCH
        echo = (ICMP, icmp.ECHO_REQUEST) if packet.version == 4 else (ICMPV6, icmp.V6_ECHO_REQUEST)
        if (packet.protocol, kind) == echo:
            if self._directory.is_forged(packet.source):
                return drop(Reason.FORGED_SOURCE)
            if is_damaged(packet):
                return drop(Reason.BAD_CHECKSUM)
            if not self.answer_limit.allows(Answer.ECHO_REPLY, now):
                return drop(Reason.ANSWER_LIMIT)
            reply = answers.echo_reply(packet)
            return Outcome(Verdict(Action.REPLY, Reason.ECHO_TO_VIP, (reply,)))
        return drop(Reason.UNSUPPORTED_PROTOCOL)

    def _icmp_error(self, packet: Packet, now: float) -> Outcome:
        """Translate an error about a packet of a connection; it changes nothing else there."""
        quoted = quoted_packet(packet)
        if quoted is not None:
            key = reversed_key(quoted)
            connection = self._connections.find(quoted.protocol, key)
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
                if packet.version == 4 and not packet.buffer[packet.start + 6] & DONT_FRAGMENT:
                    self._identifications.renew(packet)
                return Outcome(ICMP_ERROR, connection=connection, direction=direction)
            if self._books.has_ended(quoted.protocol, key, now, begins=False):
                # What a real server, or a router on its side, says would show the client its RIP.
                return drop(Reason.ENDED_CONNECTION)
        ours = packet.destination in self._directory.own_addresses
        action = Action.DROP if ours else Action.PASS
        return Outcome(Verdict(action, Reason.UNKNOWN_ICMP_ERROR))

    def _last_to_answer(self, key: bytes) -> Connection | None:
        """Find who last answered the client of this original flow key, in a one-packet group.

        Several real servers may be answering one client socket, and an error quotes what any of
        them has sent.  It is the last one's, if answers do not overlap; else the next error is.
        """
        half = (len(key) - 4) // 2
        group = self._directory.served.get((UDP, key[half:-4], key[-2:]))
        last = None
        if group is not None and group.one_packet:
            for server in (*group.real_servers, *group.lingering):
                rip, port = server.packed
                found = self._connections.find(UDP, rip + key[:half] + port + key[-4:-2])
                if found is not None and found.original_key == key and found.answered:
                    last = found if last is None or found.last_seen >= last.last_seen else last
        return last

    # -- a packet of a known connection ----------------------------------------------------

    def _known(
        self, packet: Packet, connection: Connection, now: float, explained: bool
    ) -> Outcome:
        to_server = packet.key == connection.original_key
        direction = Direction.ORIGINAL if to_server else Direction.REPLY
        if connection.unsettled is CUT or (to_server and connection.real_server.severed):
            severed = self._severed(packet, connection, now, explained)
            if severed is not None:
                return severed
        if _lacks_checksum(packet):
            return Outcome(UDP_ZERO, connection=connection, direction=direction)
        verdict = KNOWN
        old_state = connection.state
        if connection.protocol == TCP:
            reuse = to_server and reuses_ports(packet.buffer[packet.l4 + 13], connection)
            if reuse and not is_damaged(packet):
                return self._port_reuse(packet, connection, now, explained)
            if not to_server and self._begins_elsewhere(packet, connection):
                self._books.forget(connection, now, Cause.PORT_REUSE)
                return NOT_FOR_THE_SWITCH
            if not self._follow(packet, connection, to_server, now):
                verdict = RST_OUT_OF_WINDOW
        self._forward(packet, connection, direction, now)
        return Outcome(verdict, None, connection, direction, old_state)

    def _begins_elsewhere(self, packet: Packet, connection: Connection) -> bool:
        return self._tracker.begins_elsewhere(
            connection, packet.buffer, packet.l4, packet.end, _is_unverifiable(packet)
        )

    def _follow(self, packet: Packet, connection: Connection, to_server: bool, now: float) -> bool:
        unverifiable = _is_unverifiable(packet)
        return self._tracker.follow(
            connection, to_server, packet.buffer, packet.l4, packet.end, now, unverifiable
        )

    def _forward(
        self, packet: Packet, connection: Connection, direction: Direction, now: float
    ) -> None:
        connection.count(direction, packet.end - packet.start, now)
        rewrite(packet, connection.translation(direction))
        if packet.fragment is not None or (
            packet.version == 4 and not packet.buffer[packet.start + 6] & DONT_FRAGMENT
        ):
            self._identifications.renew(packet)

    def _severed(
        self, packet: Packet, connection: Connection, now: float, explained: bool
    ) -> Outcome | None:
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
        self._books.forget(connection, now, Cause.OUT_OF_SERVICE)
        outcome = self._unknown(packet, now, explained)
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
            self._books.forget(connection, now, Cause.OUT_OF_SERVICE)
            return Outcome(verdict, group, connection, Direction.REPLY, old_state)
        told = self._severing.cut(connection, packet, now)
        verdict = verdict._replace(packets=(*verdict.packets, *told))
        return Outcome(verdict, group, connection, Direction.ORIGINAL, old_state)

    def _port_reuse(self, packet: Packet, old: Connection, now: float, explained: bool) -> Outcome:
        """Let a SYN on the ports of a closed connection open a new one: that very SYN."""
        self._books.forget(old, now, Cause.PORT_REUSE)
        outcome = self._unknown(packet, now, explained)
        if outcome.verdict is NEW:
            return outcome._replace(verdict=PORT_REUSE)
        return outcome

    # -- a packet of no connection ---------------------------------------------------------

    def _unknown(self, packet: Packet, now: float, explained: bool) -> Outcome:
        key = packet.key
        half = (len(key) - 4) // 2
        source, address = key[:half], key[half:-4]
        if address not in self._directory.own_addresses:
            begins = packet.protocol == TCP and bool(packet.buffer[packet.l4 + 13] & tcp.SYN)
            if self._books.has_ended(packet.protocol, key, now, begins=begins):
                return drop(Reason.ENDED_CONNECTION)
            return NOT_FOR_THE_SWITCH
        virtual_server = self._directory.served.get((packet.protocol, address, key[-2:]))
        if self._directory.is_forged(source):
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
            if state is State.SYN_RECV and 0 < limit <= self._connections.half_open_of(source):
                return drop(Reason.HALF_OPEN_LIMIT, virtual_server)
        elif _lacks_checksum(packet):
            return Outcome(UDP_ZERO, virtual_server)
        real_server, bound, choice = self._choose(key, virtual_server, now, explained)
        if real_server is None:
            return self._reject(packet, now, Reason.NO_REAL_SERVER, virtual_server)
        return self._open(packet, virtual_server, real_server, state, now, bound, choice)

    def _choose(
        self, key: bytes, virtual_server: VirtualServer, now: float, explained: bool
    ) -> tuple[RealServer | None, bool, Choice | None]:
        """Pick the real server of a new connection, None when none is usable.

        The second part says whether persistence binds the client to it, the third, if that is
        wanted, why it was picked.
        """
        servers = virtual_server.usable_servers
        if not servers:
            return None, False, None
        scheduler, persistence = virtual_server.scheduler, virtual_server.persistence
        real_server = explanation = choice = None
        if persistence is not None:
            real_server = persistence.recall(key, servers, now)
        bound = real_server is not None
        if real_server is None:
            if explained:
                explanation = scheduler.explain(key, servers)
            real_server = scheduler.choose(key, servers)
        if explained:
            others = tuple(each for each in virtual_server.real_servers if not each.usable)
            choice = Choice(real_server, explanation, servers, others)
        return real_server, bound, choice

    def _open(
        self,
        packet: Packet,
        virtual_server: VirtualServer,
        real_server: RealServer,
        state: State,
        now: float,
        bound: bool,
        choice: Choice | None,
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
                if choice is not None:
                    full = isinstance(error, PortPoolExhaustedError)
                    trouble = "no_source_port" if full else "port_in_use"
                    choice = choice.instead(another, trouble)
                real_server = another
        if state is State.SYN_RECV:
            self._tracker.begin(connection, packet.buffer, packet.l4)
        elif state is State.ESTABLISHED:  # in mid-stream, or at its end
            self._follow(packet, connection, True, now)
        self._forward(packet, connection, Direction.ORIGINAL, now)
        one_packet = virtual_server.one_packet and packet.protocol == UDP
        verdict = ONE_PACKET if one_packet else NEW
        return Outcome(verdict, virtual_server, connection, Direction.ORIGINAL, choice=choice)

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
        if not self.answer_limit.allows(Answer.RESET if is_tcp else Answer.ICMP_ERROR, now):
            return drop(Reason.ANSWER_LIMIT, virtual_server)
        answer = answers.reset(packet) if is_tcp else answers.port_unreachable(packet)
        return Outcome(Verdict(Action.REPLY, reason, (answer,)), virtual_server)


def _is_unverifiable(packet: Packet) -> bool:
    """Whether the checksum is left to the network card, or covers other fragments as well."""
    return packet.partial or packet.fragment is not None


def _lacks_checksum(packet: Packet) -> bool:
    """Whether this is UDP over IPv6 without a checksum (RFC 8200, section 8.1: discard)."""
    if packet.protocol != UDP or packet.version != 6 or packet.partial:
        return False
    return UDPHeader(packet.buffer, packet.l4).checksum == 0
