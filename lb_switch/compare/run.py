"""One load through one scheduler: the switch's own engine, packet by packet, on the load's clock.

Each TCP connection is opened by its handshake and closed by both FINs, as real ones are; no timer
of an open connection runs out, as the load alone says when it ends.  A UDP conversation is its
first and its last datagram, and lasts until its timeout.  Every real server is healthy unless the
load says otherwise, and persistence is off: what is compared are the schedulers.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lb_switch.compare.load import Arrival, Load, ServerChange
from lb_switch.engine.changes import SetAdminState, SetHealth, SetWeight
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.listeners import PACKETS
from lb_switch.engine.packet import tcp
from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.engine.packet.flow_key import FlowKey, pack_endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling import catalogue
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.stream.encode import Encoder

_FOR_EVER = 10 * 365 * 86_400.0
_LIVE = (State.SYN_RECV, State.ESTABLISHED)


@dataclass(frozen=True)
class ComparedGroup:
    """The virtual server that the load comes to.

    `real_servers` are endpoints with their weights.
    """

    name: str
    endpoint: Endpoint
    protocol: int
    real_servers: tuple[tuple[Endpoint, int], ...]
    hash_on: Sequence[str] = ("src_ip",)
    hash_key: str = ""


class Leave(NamedTuple):
    """A real server (its index) is drained at that time: no new connections from then on."""

    time: float
    leaver: int


@dataclass
class Course:
    """What happened.  Real servers are given by their index in the group.

    `chosen`   for each arrival of the load; None where it was refused
    `active`   (time, active connections of each real server) whenever they changed
    `told`     number of an arrival that was watched -> the line of a recording (see
               `explain.schema`) about the packet that opened it
    """

    chosen: list[int | None] = field(default_factory=list)
    active: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    told: dict[int, bytes] = field(default_factory=dict)


def run(
    load: Load,
    group: ComparedGroup,
    scheduler: str,
    settings: Settings,
    leave: Leave | None = None,
    *,
    watched: Collection[int] = (),
) -> Course:
    """Put the load through a new switch with this scheduler.  watched: arrivals by their number."""
    return _Run(load, group, scheduler, settings).course(leave, watched)


class _Run:
    def __init__(
        self, load: Load, group: ComparedGroup, scheduler: str, settings: Settings
    ) -> None:
        timeouts = settings.timeouts | dict.fromkeys(_LIVE, _FOR_EVER)
        self._switch = Switch(replace(settings, timeouts=timeouts, max_half_open_per_source=0))
        self._servers = [RealServer(endpoint, weight) for endpoint, weight in group.real_servers]
        self._group = VirtualServer(
            group.name,
            group.endpoint,
            group.protocol,
            catalogue.make(scheduler, hash_on=group.hash_on, hash_key=group.hash_key),
            self._servers,
        )
        self._switch.add_virtual_server(self._group)
        self._vip = pack_endpoint(group.endpoint)
        self._protocol = group.protocol
        self._load = load
        self._course = Course()
        self._left: RealServer | None = None
        self._packets = _Packets(group.endpoint.ip, group.protocol)

    def course(self, leave: Leave | None, watched: Collection[int]) -> Course:
        arrivals = self._load.arrivals
        changes = self._load.changes
        # At one and the same time ends come before changes, and changes before arrivals.
        steps = [(a.start, 2, number) for number, a in enumerate(arrivals)]
        steps += [(a.start + a.duration, 0, number) for number, a in enumerate(arrivals)]
        steps += [(change.time, 1, number) for number, change in enumerate(changes)]
        if leave is not None:
            steps.append((leave.time, 1, len(changes)))
        self._sample(0.0)
        for time, kind, number in _in_order(steps, arrivals):
            self._run_timers(time)
            if kind == 1 and number < len(changes):
                self._change(changes[number], time)
            elif kind == 1:
                assert leave is not None
                self._left = self._servers[leave.leaver]
                self._switch.change(SetAdminState(self._left, AdminState.DRAIN), time)
            elif kind == 0:
                self._end(arrivals[number], time)
            else:
                if number in watched:
                    self._watch(number)
                self._course.chosen.append(self._open(arrivals[number], time))
                self._switch.stop_listening(self._hear)
            self._sample(time)
        self._run_timers(self._load.span)
        return self._course

    def _change(self, change: ServerChange, now: float) -> None:
        switch, server = self._switch, self._servers[change.server]
        if server.weight != change.weight:
            switch.change(SetWeight(server, change.weight), now)
        if server.healthy != change.healthy:
            switch.change(SetHealth(server, change.healthy, ""), now)
        if server.admin_state is not change.state and server is not self._left:
            switch.change(SetAdminState(server, change.state), now)

    def _watch(self, number: int) -> None:
        """Keep what the engine tells of the packet that opens this arrival."""
        self._watched, self._encoder = number, Encoder(self._switch.listeners.number_of)
        self._switch.listen(self._hear, PACKETS)

    def _hear(self, event: Event) -> None:
        if isinstance(event, PacketEvent):
            self._course.told.setdefault(self._watched, self._encoder.encode(event))

    def _key(self, arrival: Arrival) -> bytes:
        address, port = pack_endpoint(arrival.client)
        return FlowKey(address, self._vip[0], port, self._vip[1]).pack()

    def _open(self, arrival: Arrival, now: float) -> int | None:
        key = self._key(arrival)
        self._send(key, tcp.SYN, now, 0, 0)
        connection = self._switch.connections.find(self._protocol, key)
        if connection is None:
            return None
        if self._protocol == TCP:
            self._send(connection.reply_key, tcp.SYN | tcp.ACK, now, 0, 1)
            self._send(key, tcp.ACK, now, 1, 1)
            # Both go on after the handshake: that is what keeps their place in a full table.
            self._send(key, tcp.ACK, now, 1, 1)
            self._send(connection.reply_key, tcp.ACK, now, 1, 1)
        return self._servers.index(connection.real_server)

    def _end(self, arrival: Arrival, now: float) -> None:
        key = self._key(arrival)
        connection = self._switch.connections.find(self._protocol, key)
        if connection is None:
            return
        self._send(key, tcp.FIN | tcp.ACK, now, 1, 1)
        if self._protocol == TCP:
            self._send(connection.reply_key, tcp.FIN | tcp.ACK, now, 1, 2)
            self._send(key, tcp.ACK, now, 2, 2)

    def _send(self, key: bytes, flags: int, now: float, sequence: int, acknowledged: int) -> None:
        """Send a packet of this flow; its TCP numbers count from the SYN, which has 0."""
        packet = self._packets.make(key, flags, sequence, acknowledged)
        self._switch.handle_packet(packet, 0, len(packet), now, partial=True)

    def _run_timers(self, now: float) -> None:
        """Run what is due by `now`, each at its own time."""
        last = None
        while (due := self._switch.next_deadline()) is not None and due <= now:
            at = now if due == last else due
            last = due
            self._switch.handle_timers(at)
            self._sample(at)

    def _sample(self, now: float) -> None:
        active = tuple(server.active for server in self._servers)
        course = self._course.active
        if not course or course[-1][1] != active:
            course.append((now, active))


def _in_order(
    steps: list[tuple[float, int, int]], arrivals: Sequence[Arrival]
) -> list[tuple[float, int, int]]:
    """Sort by time; what begins and ends at one time begins first."""
    return sorted(
        steps,
        key=lambda step: (
            step[0],
            3 if step[1] == 0 and arrivals[step[2]].duration == 0 else step[1],
            step[2],
        ),
    )


class _Packets:
    """Makes the smallest packets of a flow, their checksums still to be completed."""

    def __init__(self, vip: IPAddress, protocol: int) -> None:
        l4 = 20 if protocol == TCP else 8
        if vip.version == 4:
            self._ip = struct.pack("!BBHIBBH", 0x45, 0, 20 + l4, 0, 64, protocol, 0)
        else:
            self._ip = struct.pack("!IHBB", 6 << 28, l4, protocol, 64)
        self._tcp = protocol == TCP
        self._addresses = 2 * len(vip.packed)

    def make(self, key: bytes, flags: int, sequence: int, acknowledged: int) -> bytearray:
        if self._tcp:
            numbers = (sequence, acknowledged)
            rest = struct.pack("!IIBBHHH", *numbers, 0x50, flags, 0xFFFF, 0, 0)
        else:
            rest = struct.pack("!HH", 8, 0xFFFF)
        ports = key[self._addresses :]
        return bytearray(self._ip + key[: self._addresses] + ports + rest)
