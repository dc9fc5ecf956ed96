"""Replay: recorded packets through the same engine, offline and without root.

    with open_capture(path) as records, create_capture(target, like=records) as out:
        replay = Replay(switch, records)
        for result in replay:
            print(json.dumps(result.as_dict()))
            for record in result.sent:
                out.write(record)
        print(json.dumps({"summary": replay.summary()}))

The packets' timestamps are the clock, so minutes pass in no time and every run gives the same
answers.  Nobody probes: real servers stay as healthy as the caller made them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.listeners import PACKETS
from lb_switch.engine.packet.hop import with_hop_taken
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason, Verdict
from lb_switch.files.link import LINK_TYPES
from lb_switch.files.record import NANOSECONDS, CapturedPacket, CaptureFileError

_log = logging.getLogger(__name__)

_NOT_IP = Verdict(Action.PASS, Reason.NOT_IP)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one record."""

    number: int
    """Counts from 1, as Wireshark does."""
    record: CapturedPacket
    """As it was captured."""
    verdict: Verdict
    event: PacketEvent | None
    """What the engine told about it; None if the engine never saw it (not IP, or cut)."""
    sent: tuple[CapturedPacket, ...]
    """What leaves the switch, with link-layer headers, in order: packets released by timers that
    came due before this record, the forwarded packet, the switch's own answers."""

    def as_dict(self) -> dict[str, int | float | str | None]:
        """Return the line of `replay --json`; what does not apply is None."""
        event = self.event
        virtual_server = event.virtual_server if event else None
        connection = event.connection if event else None
        return {
            "n": self.number,
            "time": self.record.time,
            "verdict": self.verdict.action.value,
            "reason": self.verdict.reason.value,
            "virtual_server": virtual_server.name if virtual_server else None,
            "real_server": str(connection.real_server.endpoint) if connection else None,
            "direction": (
                event.direction.name.lower() if event and event.direction is not None else None
            ),
            "state": event.state.name if event and event.state is not None else None,
        }


@dataclass(slots=True)
class _Header:
    """The link-layer header of a captured packet, for what the switch sends because of it."""

    record: CapturedPacket
    length: int
    source: bytes = field(default=b"")
    """The IP source address as captured."""

    def put_before(self, packet: bytes, time_ns: int) -> CapturedPacket:
        """Return the packet as a record.

        What goes back to the sender gets the header of an answer (for Ethernet: source and
        destination swapped), anything else the captured one.
        """
        header = self.record.data[: self.length]
        if _destination(packet) == self.source:
            header = LINK_TYPES[self.record.interface.link_type].turn_round(header)
        data = header + packet
        return CapturedPacket(time_ns, self.record.interface, data, len(data))


class Replay:
    """Feed records to a switch: iterate over it once for the results.

    A timestamp that goes back is taken for the latest so far: the engine's clock never goes back,
    while results and sent records keep the timestamp of the file.  Before each record the timers
    that are due by then are run.  A forwarded frame keeps its link-layer header and whatever
    trails the IP packet (Ethernet padding) as they were; the switch's own packets get no padding.
    What is forwarded has passed one router: its TTL (hop limit) is one less, as live.

    Who listens to the switch hears everything as usual.  `readable` has every packet take the
    readable road.

    Iteration raises CaptureFileError at a link type that cannot be read, and lets the errors of
    `records` through.
    """

    def __init__(
        self, switch: Switch, records: Iterable[CapturedPacket], *, readable: bool = False
    ) -> None:
        self._readable = readable
        self._switch = switch
        self._records = records
        self._clock = float("-inf")
        self._not_ip = 0
        self._headers: dict[int, _Header] = {}
        """IP version -> the latest header in front of such a packet."""
        self._event: PacketEvent | None = None

    def __iter__(self) -> Iterator[Replayed]:
        self._switch.listen(self._note, PACKETS)
        try:
            for number, record in enumerate(self._records, 1):
                yield self._handle(number, record)
        finally:
            self._switch.stop_listening(self._note)

    def summary(self) -> dict[str, int]:
        """Return the packets so far by reason, every reason of the closed list among them."""
        counters = {reason.value: count for reason, count in self._switch.counters.items()}
        counters[Reason.NOT_IP.value] = self._not_ip
        return counters

    def _handle(self, number: int, record: CapturedPacket) -> Replayed:
        now = max(self._clock, record.time)
        sent = self._run_timers(now)
        self._clock = now
        link = LINK_TYPES.get(record.interface.link_type)
        if link is None:
            raise CaptureFileError(_unsupported(number, record.interface.link_type))
        start = link.find_ip(record.data)
        if start is None:
            self._not_ip += 1
            return Replayed(number, record, _NOT_IP, None, tuple(sent))
        if record.cut:
            return Replayed(number, record, self._switch.note_cut_packet(), None, tuple(sent))
        frame = bytearray(record.data)
        header = _Header(record, start, _source(record.data[start:]))
        verdict = self._ask_switch(number, frame, start, now)
        packets = list(verdict.packets)
        if verdict.action is Action.FORWARD:
            # Live, the host's forwarding does that.
            packets = [with_hop_taken(packet) for packet in verdict.packets]
            data = bytes(frame[:start]) + with_hop_taken(bytes(frame[start:]))
            sent.append(record._replace(data=data))
        sent += [header.put_before(packet, record.time_ns) for packet in packets]
        if start < len(frame):
            self._headers[frame[start] >> 4] = header
        return Replayed(number, record, verdict, self._event, tuple(sent))

    def _note(self, event: Event) -> None:
        """Keep what the engine tells of the packet at hand."""
        if isinstance(event, PacketEvent):
            self._event = event

    def _ask_switch(self, number: int, frame: bytearray, start: int, now: float) -> Verdict:
        switch, length = self._switch, len(frame) - start
        self._event = None
        try:
            return switch.handle_packet(frame, start, length, now, readable=self._readable)
        except Exception as error:
            # As live: a bug costs one packet, not the run.
            _log.error("packet %d: the switch raised %r", number, error)
            _log.debug("packet %d", number, exc_info=True)
            return switch.note_internal_error()

    def _run_timers(self, now: float) -> list[CapturedPacket]:
        """Run every timer that is due at `now`, each at its own time."""
        sent: list[CapturedPacket] = []
        last_deadline = None
        while (deadline := self._switch.next_deadline()) is not None and deadline <= now:
            # A deadline that stays means that work was left over, or that it is a little early.
            at = now if deadline == last_deadline else deadline
            self._clock = max(self._clock, at)
            last_deadline = deadline
            for packet in self._switch.handle_timers(self._clock):
                header = self._headers.get(packet[0] >> 4)
                if header is not None:
                    sent.append(header.put_before(packet, round(self._clock * NANOSECONDS)))
        return sent


def _source(packet: bytes) -> bytes:
    return packet[12:16] if packet[:1] < b"\x50" else packet[8:24]


def _destination(packet: bytes) -> bytes:
    return packet[16:20] if packet[:1] < b"\x50" else packet[24:40]


def _unsupported(number: int, link_type: int) -> str:
    names: dict[str, list[str]] = {}
    for value, link in LINK_TYPES.items():
        names.setdefault(link.name, []).append(str(value))
    known = ", ".join(f"{name} ({'/'.join(values)})" for name, values in names.items())
    return f"packet {number} has link type {link_type}; supported are {known}"
