"""The steps of a ladder: what went between client and switch, and switch and real server."""

from __future__ import annotations

from typing import NamedTuple

from lb_switch.engine.verdict import Reason
from lb_switch.explain.describe import Summary, is_group_membership, summarise
from lb_switch.explain.endings import OUT_OF_SERVICE, Endings
from lb_switch.explain.who import Who, address_of
from lb_switch.stream.schema import (
    ConnectionEntry,
    ConnectionRecord,
    Header,
    PacketRecord,
    Record,
    SentRecord,
    ServerRecord,
)

SWITCH = "lb-switch"

_COMES_TO_GOOD = {"echo_to_vip", "fragment_held"}
"""Reasons of packets that end at the switch, or wait there, without being refused."""


class Lanes(NamedTuple):
    """The three columns of a ladder, by name and address, and a title for what goes on."""

    title: str
    left: str
    left_address: str
    middle_address: str
    right: str
    right_address: str


class Leg(NamedTuple):
    """One arrow.  `rightwards` as drawn; `ends`: it ends at the switch for good."""

    what: str
    address: str
    """The endpoint that the switch reads or writes on this leg: `to 10.0.1.100:80`."""
    also: str
    """The other endpoint, where full NAT changes it too; else ""."""
    rightwards: bool
    ends: bool = False


class Rung(NamedTuple):
    """One packet: the legs on the left (client) and the right (real server) of the switch.

    Or what happens between packets, which has no legs: a connection is removed, its real server
    goes out of service.
    """

    number: int | None
    """None: no packet that came, but one of the switch's own, or none at all."""
    time: float
    """Seconds since the recording began."""
    lanes: Lanes
    left: Leg | None
    right: Leg | None
    note: str
    """What else is to be said of the packet: why it was refused, that it is an answer."""
    after: str
    """What stands below the arrows, as they cause it: the new state; what happens without any."""
    inward: bool
    """Whether the packet itself came from the left; an answer of the switch goes back."""

    @property
    def has_legs(self) -> bool:
        """Whether it is a packet."""
        return self.left is not None or self.right is not None


class Rungs:
    """Makes rungs of packet records."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.who = Who(header)
        self._endings = Endings(header)
        self._last: Lanes | None = None
        self._untold: ConnectionRecord | None = None
        """A change or removal, told before the packet that causes it, to be drawn below that."""
        self._real = {
            server.address
            for virtual_server in header.virtual_servers
            for server in virtual_server.real_servers
        }

    def of(self, record: Record) -> list[Rung]:
        """Return the rungs of a record: for a packet one, and one for each answer; for an end one.

        What hosts tell their routers of groups (MLD, IGMP) is nobody's conversation: none.
        """
        self.who.learn(record)
        untold, self._untold = self._untold, None
        rungs = self._of(record)
        if untold is not None:
            rungs = self._with_untold(untold, record, rungs)
        self._endings.learn(record)
        if rungs:
            self._last = rungs[-1].lanes
        return rungs

    def _of(self, record: Record) -> list[Rung]:
        if isinstance(record, ConnectionRecord):
            if record.stage == "changed" or record.cause == OUT_OF_SERVICE:
                self._untold = record
                return []
            return self._change(record) if record.stage == "closed" else []
        if isinstance(record, ServerRecord):
            news = self._endings.news(record)
            name = self.who.short(record.real_server.address)
            return self._between(record.time, f"{name} {news}", self._last) if news else []
        if isinstance(record, SentRecord):
            return [self._own(record)]
        if not isinstance(record, PacketRecord) or is_group_membership(record.bytes_before):
            return []
        before = summarise(record.bytes_before, record.length)
        after = summarise(record.bytes_after, record.length)
        lanes = self._lanes(record, before)
        time = record.time - self._header.time
        if record.verdict in {"forward", "pass"}:
            rung = self._through(record, lanes, before, after, time)
        else:
            rung = self._stopped(record, lanes, before, time)
        return [rung, *self._answers(record, lanes, time, rung.inward)]

    def _with_untold(
        self, untold: ConnectionRecord, record: Record, rungs: list[Rung]
    ) -> list[Rung]:
        """Add what is still to be told: to its packet, if this is it, else before."""
        if rungs and isinstance(record, PacketRecord):
            first, *others = rungs
            if record.connection == untold.connection:  # it says so itself, but not why
                if record.reason != Reason.REAL_SERVER_DOWN.value:
                    return rungs
                return [first._replace(after=self._new(untold)), *others]
            lanes = self._lanes_of(untold.connection, untold.virtual_server)
            if record.connection is None and first.lanes == lanes:
                return [first._replace(after=self._new(untold)), *others]
        return [*self._change(untold), *rungs]

    def _new(self, record: ConnectionRecord) -> str:
        name = self.who.short(record.connection.real)
        if record.stage == "closed":
            return f"removed: {self._endings.why(record, name)}"
        fault = self._endings.fault(record, name)
        return f"{record.state}: {fault}" if fault else record.state

    def _change(self, record: ConnectionRecord) -> list[Rung]:
        """Tell what became of a connection where it is drawn, or by its number among others."""
        lanes = self._lanes_of(record.connection, record.virtual_server)
        text = self._new(record)
        if self._last in {None, lanes}:
            return self._between(record.time, text, lanes)
        is_now = "is" if record.stage == "closed" else "is now"
        text = f"connection {record.connection.number} {is_now} {text}"
        return self._between(record.time, text, self._last)

    def _between(self, time: float, text: str, lanes: Lanes | None) -> list[Rung]:
        if lanes is None:
            return []
        return [Rung(None, time - self._header.time, lanes, None, None, "", text, inward=True)]

    def _own(self, record: SentRecord) -> Rung:
        """What the switch sends of its own accord has only one leg."""
        lanes = self._lanes_of(record.connection, record.virtual_server)
        summary = summarise(record.bytes_sent, record.length)
        inward = record.direction == "original"
        leg = Leg(summary.short, f"from {summary.source}", "", inward)
        left, right = (None, leg) if inward else (leg, None)
        note = "the switch's own"
        return Rung(None, record.time - self._header.time, lanes, left, right, note, "", inward)

    def _lanes(self, record: PacketRecord, summary: Summary) -> Lanes:
        connection = self._endings.connection_of(record, summary)
        if connection is not None:
            return self._lanes_of(connection, record.virtual_server)
        left, right = summary.source, summary.destination
        if self._from_right(record, summary):
            left, right = right, left
        if self.who.is_vip(address_of(right)) or record.verdict in {"drop", "reply"}:
            return Lanes("no connection", self.who.short(left), left, right, "", "")
        names = self.who.short(left), self.who.short(right)
        return Lanes("no connection", names[0], left, "", names[1], right)

    def _lanes_of(self, connection: ConnectionEntry, virtual_server: str | None) -> Lanes:
        who = self.who
        title = f"connection {connection.number}, {connection.protocol}"
        if virtual_server:
            title += f", virtual server {virtual_server}"
        return Lanes(
            title,
            who.name(connection.client) or "client",
            connection.client,
            connection.virtual,
            who.name(connection.real) or "real server",
            connection.real,
        )

    def _from_right(self, record: PacketRecord, summary: Summary) -> bool:
        if record.direction is not None:
            return record.direction == "reply"
        return summary.source in self._real

    def _through(
        self, record: PacketRecord, lanes: Lanes, before: Summary, after: Summary, time: float
    ) -> Rung:
        what = before.short
        if record.direction == "reply":
            changed = before.destination != after.destination
            right = Leg(
                what, f"from {before.source}", f"to {before.destination}" if changed else "", False
            )
            left = Leg(
                what, f"from {after.source}", f"to {after.destination}" if changed else "", False
            )
        else:
            rightwards = record.direction is not None or not self._from_right(record, before)
            changed = before.source != after.source
            first = Leg(
                what,
                f"to {before.destination}",
                f"from {before.source}" if changed else "",
                rightwards,
            )
            second = Leg(
                what,
                f"to {after.destination}",
                f"from {after.source}" if changed else "",
                rightwards,
            )
            left, right = (first, second) if rightwards else (second, first)
        inward = left.rightwards
        return Rung(record.number, time, lanes, left, right, "", _new_state(record), inward)

    def _stopped(self, record: PacketRecord, lanes: Lanes, summary: Summary, time: float) -> Rung:
        from_right = self._from_right(record, summary)
        ends = record.reason not in _COMES_TO_GOOD
        leg = Leg(summary.short, f"to {summary.destination}", "", not from_right, ends)
        left, right = (None, leg) if from_right else (leg, None)
        note, after = record.reason.replace("_", " "), _new_state(record)
        return Rung(record.number, time, lanes, left, right, note, after, not from_right)

    def _answers(self, record: PacketRecord, lanes: Lanes, time: float, inward: bool) -> list[Rung]:
        rungs = []
        asked = summarise(record.bytes_before, record.length)
        for sent in record.sent:
            summary = summarise(bytes.fromhex(sent.data), sent.length)
            if record.verdict == "reply":
                # A client that is cut off is answered, and his real server is told.
                back = summary.destination == asked.source
                leg = Leg(summary.short, f"from {summary.source}", "", back is not inward)
                left, right = (leg, None) if back is inward else (None, leg)
                note = "the switch's own answer" if back else "the switch's own"
            else:
                leg = Leg(summary.short, f"to {summary.destination}", "", inward)
                left, right = (None, leg) if inward else (leg, None)
                note = "held back until now"
            rungs.append(Rung(record.number, time, lanes, left, right, note, "", inward))
        return rungs


def _new_state(record: PacketRecord) -> str:
    opened = record.choice is not None
    changed = record.old_state is not None and record.old_state != record.state
    return record.state or "" if opened or changed else ""
