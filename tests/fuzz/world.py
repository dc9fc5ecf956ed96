"""A small world that a string of bytes drives: what the fuzzer's input means.

Two switches in the same state see the same packets; one of them tells of each, or has each take
the readable road only.  Every input is valid: bytes that run out read as zero, and numbers wrap.
The world is small on purpose (two clients, four ports, tables of a few entries), so that random
bytes meet the same connection again and again.

What is checked after every packet (`FindingError` is raised otherwise):

* no exception; `handle_packet` never raises, whatever the bytes;
* no byte outside the packet is written, and a packet that is not forwarded stays as it was;
* both switches give the same verdict, bytes and packets to send;
* a forwarded packet's checksums are as right as they came in, and its length is its own;
* packets the switch makes itself have right checksums;
* a connection keeps its real server and its translations for as long as it is in the table.

And now and then, and at the end: the invariants; every packet counted in exactly one reason; and
when all time has passed nothing is left in tables, timers, pools and fragments.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter

from lb_switch.engine.changes import RemoveVirtualServer, SetAdminState, SetHealth, SetWeight
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.fragments import FragmentTracker
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.servers import AdminState, OnDown, RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason, Verdict
from tests.support.roads import ReadableSwitch, ignore
from tests.support.soundness import layout, repaired, soundness
from tests.support.wire import tcp_segment, udp_datagram

HEADROOM = 10
MARGIN = 24
CANARY = b"\xc5"
CHECK_EVERY = 64

UNKNOWN_TCP = ("reset", "drop", "schedule")
ON_DOWN: tuple[OnDown, ...] = ("reset", "reschedule", "keep")
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "sh")
VIPS = ("10.0.1.100", "2001:db8:1::100")
SNATS = ("10.0.1.100", "2001:db8:1::200")
CLIENTS = (("10.0.1.11", "10.0.2.99"), ("2001:db8:1::11", "2001:db8:2::99"))
RIPS = (("10.0.2.11", "10.0.2.12"), ("2001:db8:2::11", "2001:db8:2::12"))
SERVICES = (
    ("web", TCP, 80, 8080),
    ("web-full", TCP, 81, 8080),
    ("shared", TCP, 82, 8080),
    ("dns", UDP, 53, 53),
    ("dns-ops", UDP, 54, 5353),
    ("dns-full", UDP, 55, 53),
)
CLIENT_PORTS = (40000, 40001, 53, 1024)
FIRST = 1000
FIN, SYN, ACK = 0x01, 0x02, 0x10
TICKS = (0.0, 0.25, 3.0, 11.0, 31.0, 61.0, 130.0, 1000.0)
EXTENSIONS = (
    (b"", b""),
    (b"\x01" * 4, b"\x00"),
    (b"\x01" * 40, b"\x3c\x00"),
    (b"\x44\x08\x05\x00\x00\x00\x00\x00", b"\x2b"),
)
"""IPv4 options, and the numbers of IPv6 extension headers (8 bytes each)."""


class FindingError(AssertionError):
    """The engine did what it must not."""


def pack(address: str) -> bytes:
    return Endpoint.parse(f"[{address}]:1" if ":" in address else f"{address}:1").ip.packed


ADDRESSES = {text: pack(text) for pair in (VIPS, SNATS, *CLIENTS, *RIPS) for text in pair}


@functools.cache
def endpoint(address: str, port: int) -> Endpoint:
    return Endpoint.parse(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


class Input:
    """Bytes read one after the other; when they have run out, zeros."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def __bool__(self) -> bool:
        return self.at < len(self.data)


def ip_packet(source: bytes, destination: bytes, protocol: int, l4: bytes, extension: int) -> bytes:
    """Put an IP header in front, checksums not yet computed."""
    options, chain = EXTENSIONS[extension & 3]
    if len(source) == 4:
        size = 20 + len(options)
        head = struct.pack("!BBHHHBBH", 0x40 | size >> 2, 0, size + len(l4), 7, 0, 64, protocol, 0)
        return head + source + destination + options + l4
    numbers = [*chain, protocol]
    headers = b"".join(bytes([after]) + bytes(7) for after in numbers[1:])
    head = struct.pack("!IHBB", 6 << 28, len(headers) + len(l4), numbers[0], 64)
    return head + source + destination + headers + l4


def turned(data: bytes) -> bytes:
    """Swap source and destination, addresses and ports.  The checksums stay right: sums commute."""
    addresses, protocol, l4, end, _ = layout(data)
    packet = bytearray(data)
    pair = data[addresses]
    half = len(pair) // 2
    packet[addresses] = pair[half:] + pair[:half]
    if protocol in {TCP, UDP} and l4 + 4 <= end:
        packet[l4 : l4 + 4] = data[l4 + 2 : l4 + 4] + data[l4 : l4 + 2]
    return bytes(packet)


def make_switch(kind: type[Switch], first: int, second: int) -> Switch:
    """Build a switch as two bytes of the input say."""
    switch = kind(
        Settings(
            max_connections=1 + (first & 7),
            max_half_open_per_source=first >> 3 & 3,
            unknown_tcp=UNKNOWN_TCP[(first >> 5) % 3],  # type: ignore[arg-type]
            snat_ports=(1024, 1024 + (second >> 6)),
        )
    )
    if second & 1:
        tracker = FragmentTracker(max_datagrams=2, max_held_bytes=200)
        switch._readable_road._fragment_road.tracker = tracker
    for version in (0, 1):
        for name, protocol, port, real_port in SERVICES:
            full = name.endswith("full")
            switch.add_virtual_server(
                VirtualServer(
                    f"{name}{version}",
                    endpoint(VIPS[version], port),
                    protocol,
                    make(SCHEDULERS[(second >> 1) % len(SCHEDULERS)]),
                    [RealServer(endpoint(rip, real_port)) for rip in RIPS[version]],
                    on_down=ON_DOWN[(second >> 2) % 3],
                    forward="full_nat" if full else "nat",
                    snat=endpoint(SNATS[version], 1).ip if full else None,
                    persistence=Persistence(30.0, 24 * (second >> 4 & 1)) if second & 32 else None,
                    one_packet=name.endswith("ops"),
                )
            )
    return switch


class World:
    """Two switches, the clock, and the oracle."""

    def __init__(self, data: bytes) -> None:
        self.input = Input(data)
        first, second = self.input.byte(), self.input.byte()
        told = (first ^ second) & 3 == 3
        other = make_switch(Switch if told else ReadableSwitch, first, second)
        if told:
            other.listen(ignore)
        self.switches = (make_switch(Switch, first, second), other)
        self.groups = [list(switch.virtual_servers.values()) for switch in self.switches]
        self.now = 0.0
        self.packets = 0
        self.released = 0
        self.sent = 0
        """Packets that the switch made on its own account."""
        self.reasons: Counter[Reason] = Counter()
        self.last = b""
        """The packet forwarded last, as it left."""
        self.bends: list[tuple[int, int]] = []
        self.cut = 0
        self.padding = 0
        self.partial = False
        self.extension = 0
        self.servers_of: dict[Connection, tuple[object, ...]] = {}

    # -- the loop --------------------------------------------------------------------------

    def run(self) -> None:
        """Do what the input says, to its end."""
        steps = (
            *(self.send_tcp,) * 5,
            *(self.send_udp,) * 2,
            self.send_fragment,
            self.answer_last,
            self.error_about_last,
            self.send_echo,
            self.send_raw,
            self.bend_next,
            self.shape_next,
            self.let_time_pass,
            self.control,
        )
        while self.input:
            step = self.input.byte()
            steps[step & 15](step >> 4)
        self.check_state()
        self.end_of_time()

    def send(self, data: bytes) -> None:
        """Put a packet through both switches and check what came of it."""
        data = self.shaped(data)
        results = [self.handle(switch, data) for switch in self.switches]
        self.packets += 1
        verdict, after = results[0]
        if results[0] != results[1]:
            raise FindingError(f"short road {results[0]}, readable road {results[1]}")
        self.reasons[verdict.reason] += 1
        if verdict.action is Action.FORWARD:
            before = soundness(data, self.partial)
            if soundness(after, self.partial) != before:
                raise FindingError(f"{before} before, {soundness(after, self.partial)} afterwards")
            self.last = after
        elif after != data:
            raise FindingError(f"{verdict} has changed the packet")
        forwarded = verdict.action is Action.FORWARD
        for number, made in enumerate(verdict.packets):
            own = not forwarded and verdict.action is Action.REPLY and number == 0
            own = own or verdict.reason is Reason.REAL_SERVER_DOWN
            if own and not all(right in {True, None} for right in soundness(made)):
                raise FindingError(f"made a packet with wrong checksums: {made.hex()}")
        self.partial, self.extension = False, 0
        if self.packets % CHECK_EVERY == 0:
            self.check_state()

    def handle(self, switch: Switch, data: bytes) -> tuple[Verdict, bytes]:
        canaries = CANARY * HEADROOM, CANARY * MARGIN
        buffer = bytearray(canaries[0] + data + canaries[1])
        stop = HEADROOM + len(data)
        verdict = switch.handle_packet(buffer, HEADROOM, len(data), self.now, self.partial)
        if buffer[:HEADROOM] != canaries[0] or buffer[stop:] != canaries[1]:
            raise FindingError(f"{verdict}: wrote outside the packet")
        return verdict, bytes(buffer[HEADROOM:stop])

    def shaped(self, data: bytes) -> bytes:
        """Bend, cut and pad the packet as was asked before."""
        if self.bends or self.cut or self.padding:
            packet = bytearray(data)
            for at, value in self.bends:
                if packet:
                    packet[at % len(packet)] ^= value
            data = bytes(packet[: max(0, len(packet) - self.cut)]) + b"\xee" * self.padding
            self.bends, self.cut, self.padding = [], 0, 0
        return data

    # -- steps: packets --------------------------------------------------------------------

    def ends(self, byte: int, protocol: int) -> tuple[bytes, bytes, bytes]:
        """Read addresses and ports from a byte: one of the ways that packets go."""
        version = byte & 1
        way = byte >> 1 & 7
        port = CLIENT_PORTS[byte >> 4 & 3]
        choice = byte >> 6 & 1
        client, rip = CLIENTS[version][choice], RIPS[version][byte >> 7]
        services = [each for each in SERVICES if each[1] == protocol]
        if way < 5:  # a client to a service, or to a port that has none
            place = services[way][2] if way < len(services) else 9 + way
            ends = (client, port, VIPS[version], place)
        elif way == 5:
            ends = (rip, services[choice][3], client, port)
        elif way == 6:
            ends = (rip, services[-1][3], SNATS[version], 1024 + (byte >> 4 & 3))
        else:
            ends = (VIPS[version] if choice else rip, port, VIPS[version], services[0][2])
        source, source_port, destination, destination_port = ends
        return (
            ADDRESSES[source],
            ADDRESSES[destination],
            struct.pack("!HH", source_port, destination_port),
        )

    def send_tcp(self, more: int) -> None:
        source, destination, ports = self.ends(self.input.byte(), TCP)
        flags = (0x02, 0x10, 0x18, 0x11, 0x04, 0x12, 0x14, 0x01)[more & 7]
        if more & 8:
            flags = self.input.byte()
        far = self.input.byte() << 24 if flags & 4 else 0
        # Both ends' SYNs have the number FIRST: what follows it continues the conversation.
        sequence = FIRST + (not flags & SYN) + far & 0xFFFFFFFF
        segment = tcp_segment(ports, flags, sequence, FIRST + 1, b"some bytes"[: more & 9])
        packet = ip_packet(source, destination, TCP, segment, self.extension)
        self.send(repaired(packet, self.partial))

    def send_udp(self, more: int) -> None:
        source, destination, ports = self.ends(self.input.byte(), UDP)
        datagram = udp_datagram(ports, b"fourteen bytes"[: more + 4 & 15])
        packet = ip_packet(source, destination, UDP, datagram, self.extension)
        self.send(packet if more & 8 else repaired(packet, self.partial))

    def send_fragment(self, more: int) -> None:
        protocol = TCP if more & 8 else UDP
        source, destination, ports = self.ends(self.input.byte(), protocol)
        if more & 4:
            protocol, ports = (1, 58)[len(source) == 16], b"\x08\x00\x00\x00"
        how = self.input.byte()
        offset, last, size = how & 7, how & 8, (how >> 4 & 3) * 8 + (how >> 6)
        if offset == 0:
            payload = b"p" * size
            l4 = (
                udp_datagram(ports, payload)
                if protocol != TCP
                else tcp_segment(ports, 0x02 if how & 128 else 0x10, 1000, 1000, payload)
            )
        else:
            l4 = b"f" * size
        bits = offset << 3 | (not last)
        if len(source) == 4:
            packet = bytearray(ip_packet(source, destination, protocol, l4, 0))
            packet[6:8] = (offset | (0 if last else 0x2000)).to_bytes(2, "big")
            packet[5] = more & 3
            self.send(repaired(bytes(packet)))
            return
        head = bytes([protocol, 0]) + struct.pack("!HI", bits, more & 3)
        self.send(ip_packet(source, destination, 44, head + l4, 0))

    def answer_last(self, more: int) -> None:
        """Let whoever got the last packet answer it."""
        if not self.last:
            return
        packet = bytearray(turned(self.last))
        _, protocol, l4, end, fragment = layout(self.last)
        if protocol == TCP and not fragment and l4 + 14 <= end:
            sequence, acknowledged, offset, flags = struct.unpack_from("!IIBB", packet, l4 + 4)
            taken = max(0, end - l4 - (offset >> 4) * 4) + bool(flags & SYN) + bool(flags & FIN)
            number = FIRST if flags & (SYN | ACK) == SYN else acknowledged
            answered = sequence + taken & 0xFFFFFFFF
            struct.pack_into("!II", packet, l4 + 4, number, answered)
            packet[l4 + 13] = (0x12, 0x10, 0x11, 0x14)[more & 3]
        self.send(repaired(bytes(packet)) if more & 12 != 12 else bytes(packet))

    def error_about_last(self, more: int) -> None:
        """Let a router, or the host itself, say that the last packet did not arrive."""
        if not self.last:
            return
        quoted, how = self.last, self.input.byte()
        addresses, _, l4, end, _ = layout(quoted)
        pair = quoted[addresses]
        half = len(pair) // 2
        kinds = ((3, 11, 12, 5), (1, 2, 3, 4))[half == 16]
        length = min(end, l4 + 8 + (how & 63))
        kind, code = kinds[more & 3], how >> 6
        message = bytes([kind, code, 0, 0, 0, 0, 5, 0]) + quoted[:length]
        source = pair[half:] if more & 4 else pair[half : half + half - 1] + b"\x01"
        packet = ip_packet(source, pair[:half], 1 if half == 4 else 58, message, self.extension)
        self.send(repaired(packet))

    def send_echo(self, more: int) -> None:
        version = more & 1
        kind = (8, 128, 0, 135)[more >> 1 & 3]
        protocol = (1, 58)[version if more & 8 == 0 else 1 - version]
        source, destination = ADDRESSES[CLIENTS[version][0]], ADDRESSES[VIPS[version]]
        message = bytes([kind, 0, 0, 0]) + b"idsqpayload"
        self.send(repaired(ip_packet(source, destination, protocol, message, self.extension)))

    def send_raw(self, more: int) -> None:
        self.send(self.input.take(self.input.byte()))

    # -- steps: how the next packet is -----------------------------------------------------

    def bend_next(self, more: int) -> None:
        for _ in range(1 + (more & 1)):
            self.bends.append((self.input.byte() & 127, self.input.byte()))

    def shape_next(self, more: int) -> None:
        how = self.input.byte()
        self.partial = bool(more & 1)
        self.extension = more >> 1 & 3
        if more & 8:
            self.cut, self.padding = how & 63, how >> 6

    # -- steps: time and operators ---------------------------------------------------------

    def let_time_pass(self, more: int) -> None:
        self.pass_time(TICKS[more & 7])

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.switches[0].next_deadline()) is not None and due <= end:
            if due != self.switches[1].next_deadline():
                raise FindingError("the two switches' deadlines differ")
            self.now = max(self.now, due)
            one, other = (switch.handle_timers(self.now) for switch in self.switches)
            if one != other:
                raise FindingError(f"short road sends {one}, readable road {other}")
            self.sent += len(one)
            for made in one:
                if not all(right in {True, None} for right in soundness(made)):
                    raise FindingError(f"made a packet with wrong checksums: {made.hex()}")
        self.now = end

    def control(self, more: int) -> None:
        """Change a real server, or take a virtual server away and bring it back."""
        how = self.input.byte()
        for switch, groups in zip(self.switches, self.groups, strict=True):
            group = groups[how % len(groups)]
            member = (how >> 4) % 2
            if more == 0:
                if switch.virtual_servers.get(group.name) is group:
                    switch.change(RemoveVirtualServer(group), 0.0)
                else:
                    switch.add_virtual_server(group)
            elif more == 1 and len(group.real_servers) > 1:
                group.remove(group.real_servers[member])
            elif more == 2 and len(group.real_servers) < 2:
                _, _, _, real_port = SERVICES[how % len(groups) % len(SERVICES)]
                version = how % len(groups) // len(SERVICES)
                rips = {rs.endpoint for rs in group.real_servers}
                for rip in RIPS[version]:
                    if endpoint(rip, real_port) not in rips:
                        group.add(RealServer(endpoint(rip, real_port)))
            elif group.real_servers:
                server = group.real_servers[member % len(group.real_servers)]
                if more < 7:
                    switch.change(SetHealth(server, bool(more & 1), "fuzz"), self.now)
                elif more < 12:
                    state = list(AdminState)[more % 3]
                    switch.change(SetAdminState(server, state), self.now)
                else:
                    switch.change(SetWeight(server, more & 3), self.now)

    # -- the oracle ------------------------------------------------------------------------

    def check_state(self) -> None:
        """Check what must hold between packets."""
        for switch in self.switches:
            check_invariants(switch)
        fast, slow = self.switches
        if fast.counters != slow.counters:
            raise FindingError("the two switches' counters differ")
        counters = fast.counters
        decided_later = counters[Reason.FRAGMENT_HELD] - fast.fragments.held
        if sum(counters.values()) != self.packets + decided_later:
            raise FindingError(f"{self.packets} packets, counted {sum(counters.values())}")
        alive: dict[Connection, tuple[object, ...]] = {}
        for connection in fast.connections:
            facts = (connection.real_server, connection.original_key, connection.reply_key)
            if self.servers_of.get(connection, facts) != facts:
                raise FindingError("a live connection has changed its real server")
            alive[connection] = facts
        self.servers_of = alive

    def end_of_time(self) -> None:
        """Let every timer run out: nothing may be left."""
        self.pass_time(10 * DEFAULT_TIMEOUTS[State.ESTABLISHED])
        self.check_state()
        for switch in self.switches:
            if len(switch.connections) or len(switch.fragments) or switch.fragments.held_bytes:
                raise FindingError("something is left when all time has passed")
            if switch.next_deadline() is not None:
                raise FindingError("a timer is left when nothing is")


def run(data: bytes) -> World:
    """Run one input.  Raises FindingError, or whatever the engine raised."""
    world = World(data)
    world.run()
    return world
