"""The steps of a ladder: what went between client and switch, and switch and real server."""

from __future__ import annotations

from typing import NamedTuple

from lb_switch.explain.describe import Summary, summarise
from lb_switch.explain.schema import ConnectionEntry, Header, PacketRecord, Record, SentRecord
from lb_switch.explain.who import Who, address_of

SWITCH = "lb-switch"


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
    """One packet: the legs on the left (client) and the right (real server) of the switch."""

    number: int | None
    """None: nobody's packet but the switch's own."""
    time: float
    """Seconds since the recording began."""
    lanes: Lanes
    left: Leg | None
    right: Leg | None
    note: str
    """What else is to be said: a change of state, why it was dropped."""
    inward: bool
    """Whether the packet itself came from the left; an answer of the switch goes back."""


class Rungs:
    """Makes rungs of packet records."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.who = Who(header)
        self._real = {
            server.address
            for virtual_server in header.virtual_servers
            for server in virtual_server.real_servers
        }

    def of(self, record: Record) -> list[Rung]:
        """Return the rungs of a record: one for a packet, one for each answer; else none."""
        self.who.learn(record)
        if isinstance(record, SentRecord):
            return [self._own(record)]
        if not isinstance(record, PacketRecord):
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

    def _own(self, record: SentRecord) -> Rung:
        """What the switch sends of its own accord has only one leg."""
        lanes = self._lanes_of(record.connection, record.virtual_server)
        summary = summarise(record.bytes_sent, record.length)
        inward = record.direction == "original"
        leg = Leg(summary.short, f"from {summary.source}", "", inward)
        left, right = (None, leg) if inward else (leg, None)
        note = "the switch's own"
        return Rung(None, record.time - self._header.time, lanes, left, right, note, inward)

    def _lanes(self, record: PacketRecord, summary: Summary) -> Lanes:
        connection = record.connection
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
        return Rung(record.number, time, lanes, left, right, _note(record), inward)

    def _stopped(self, record: PacketRecord, lanes: Lanes, summary: Summary, time: float) -> Rung:
        from_right = self._from_right(record, summary)
        leg = Leg(summary.short, f"to {summary.destination}", "", not from_right, ends=True)
        left, right = (None, leg) if from_right else (leg, None)
        return Rung(record.number, time, lanes, left, right, _note(record), not from_right)

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
            rungs.append(Rung(record.number, time, lanes, left, right, note, inward))
        return rungs


def _note(record: PacketRecord) -> str:
    if record.verdict in {"drop", "reply"}:
        return record.reason.replace("_", " ")
    opened = record.choice is not None
    changed = record.old_state is not None and record.old_state != record.state
    return record.state or "" if opened or changed else ""
