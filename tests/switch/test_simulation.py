"""A day in a small network: many clients, servers that come and go, and a model that knows little.

Clients open TCP connections and ask by UDP, over IPv4 and IPv6, through plain and full NAT, with
fragments in any order, lost packets, resets and clients that vanish; operators drain, stop, remove
and add real servers; strangers send SYNs by the hundred to a table that is far too small.

The model knows of each conversation which real server has it, and claims:

* a conversation in the table never changes its real server;
* one of TCP in which both sides went on after the handshake, not idle for too long, whose server
  may go on, is there; an established one without that, and an answered one of UDP, are there too if
  the table was not full meanwhile;
* answers reach the client who asked, from the VIP it asked;
* payloads arrive as they were sent, and every forwarded packet's checksums are right;
* nobody new is sent to a server that is not usable.
"""

from __future__ import annotations

import ipaddress
import os
import random
import struct
from collections import Counter
from dataclasses import dataclass

import pytest

from lb_switch.engine.changes import SetAdminState, SetHealth, SetWeight
from lb_switch.engine.connections.tcp_state import DEFAULT_TIMEOUTS, State
from lb_switch.engine.events import Event
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import Seen, endpoint, send
from tests.support.fragments import fragments, reassembled
from tests.support.soundness import layout, repaired, soundness
from tests.support.wire import ip_header, tcp_segment, udp_datagram

STEPS = int(os.environ.get("LB_SWITCH_SIMULATION_STEPS", "20000"))
CHECK_EVERY = 100
BOUND = 60
CONVERSATIONS = 25
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
OPENING = {Reason.NEW_CONNECTION, Reason.PORT_REUSE, Reason.RESCHEDULED}


def packet(
    source: Endpoint,
    destination: Endpoint,
    protocol: int,
    payload: bytes,
    flags: int,
    seq: int,
    ack: int,
) -> bytes:
    ports = struct.pack("!HH", source.port, destination.port)
    if protocol == TCP:
        l4 = tcp_segment(ports, flags, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, payload)
    else:
        l4 = udp_datagram(ports, payload)
    head = ip_header(source.ip.packed, destination.ip.packed, protocol, len(l4))
    return repaired(head + l4)


@dataclass
class Arrived:
    """What a host reads of a packet that reached it."""

    source: Endpoint
    destination: Endpoint
    payload: bytes

    @classmethod
    def of(cls, data: bytes) -> Arrived:
        assert all(right in {True, None} for right in soundness(data)), "a wrong checksum arrived"
        addresses, protocol, l4, end, _ = layout(data)
        pair = data[addresses]
        half = len(pair) // 2
        ports = struct.unpack_from("!HH", data, l4)
        source = Endpoint(ipaddress.ip_address(pair[:half]), ports[0])
        destination = Endpoint(ipaddress.ip_address(pair[half:]), ports[1])
        size = (data[l4 + 12] >> 4) * 4 if protocol == TCP else 8
        return cls(source, destination, data[l4 + size : end])


class Conversation:
    """A client's conversation with a VIP, and what the model knows of it."""

    def __init__(self, group: VirtualServer, client: Endpoint, rng: random.Random) -> None:
        self.group = group
        self.client = client
        self.protocol = group.protocol
        self.rng = rng
        self.real_server: RealServer | None = None
        self.peer: Endpoint | None = None
        """Who the real server believes to talk with."""
        self.fresh = False
        """Its connection was opened for it, not found there from an earlier one on these ports."""
        self.sure = False
        """Established, or answered: it must be in the table."""
        self.went_on: set[str] = set()
        """Which sides have sent something after the handshake: with both it never gives way."""
        self.last_seen = 0.0
        self.last_sent = 0
        """Which packet of the simulation was its last."""
        self.seq = rng.randrange(1 << 32)
        self.server_seq = rng.randrange(1 << 32)
        self.exchanges = rng.randrange(12)

    @property
    def key(self) -> tuple[int, Endpoint, Endpoint]:
        return self.protocol, self.client, self.group.endpoint


class Simulation:
    """The switch, the clock, all conversations, and the model."""

    def __init__(self, seed: int, observed: bool) -> None:
        self.rng = random.Random(seed)
        self.switch = Switch(Settings(max_connections=BOUND))
        if observed:
            self.switch.listen(self.listen)
        self.told: Counter[str] = Counter()
        self.now = 0.0
        self.groups: list[VirtualServer] = []
        self.spares: list[tuple[VirtualServer, RealServer]] = []
        self.conversations: dict[tuple[int, Endpoint, Endpoint], Conversation] = {}
        self.past: dict[object, tuple[RealServer | None, Endpoint | None]] = {}
        """Who had the last conversation on these ports: its entry may be there still."""
        self.outcomes: Counter[Reason] = Counter()
        self.identification = 0
        self.sent = self.last_full = 0
        """How many packets there were, and after which the table was full last."""
        plans = [
            ("web", TCP, "rr", "nat", "reset"),
            ("web-full", TCP, "lc", "full_nat", "reschedule"),
            ("mail", TCP, "wrr", "nat", "keep"),
            ("dns", UDP, "wlc", "nat", "reset"),
            ("dns-full", UDP, "sh", "full_nat", "reset"),
        ]
        for version in (4, 6):
            net = "2001:db8:{}::" if version == 6 else "10.0.{}."
            for number, (name, protocol, scheduler, forward, on_down) in enumerate(plans):
                members = [
                    RealServer(endpoint((net.format(2) + str(10 * number + n), 8000 + n)), n)
                    for n in (1, 2, 3)
                ]
                group = VirtualServer(
                    f"{name}{version}",
                    endpoint((net.format(1) + "100", 80 + number)),
                    protocol,
                    make(scheduler),
                    members,
                    on_down=on_down,  # type: ignore[arg-type]
                    forward=forward,  # type: ignore[arg-type]
                    snat=endpoint((net.format(1) + "200", 1)).ip,
                    persistence=Persistence(50.0) if name == "mail" else None,
                )
                self.groups.append(group)
                self.switch.add_virtual_server(group)

    def listen(self, event: Event) -> None:
        self.told[type(event).__name__] += 1

    # -- the loop --------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        for number in range(steps):
            choice = self.rng.random()
            if choice < 0.02:
                self.let_time_pass(self.rng.choice([0.3, 2.0, 15.0, 70.0]))
            elif choice < 0.045:
                self.operate()
            elif choice < 0.06:
                self.flood(self.rng.randrange(20))
            elif choice < 0.2 and len(self.conversations) < CONVERSATIONS:
                self.begin()
            elif self.conversations:
                self.go_on(self.rng.choice(list(self.conversations.values())))
            if number % CHECK_EVERY == 0:
                check_invariants(self.switch)
        self.let_time_pass(10_000)
        check_invariants(self.switch)

    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        while (due := self.switch.next_deadline()) is not None and due <= self.now:
            self.switch.handle_timers(self.now)

    def operate(self) -> None:
        group = self.rng.choice(self.groups)
        act = self.rng.randrange(7)
        if act == 0 and len(group.real_servers) > 1:
            gone = self.rng.choice(group.real_servers)
            group.remove(gone)
            self.spares.append((group, gone))
        elif act == 1 and self.spares:
            group, gone = self.spares.pop(0)
            group.add(RealServer(gone.endpoint, self.rng.randrange(1, 4)))
        elif group.real_servers:
            server = self.rng.choice(group.real_servers)
            if act in {2, 6}:
                self.switch.change(SetHealth(server, not server.healthy, "simulated"), self.now)
            elif act == 3:
                state = self.rng.choice(list(AdminState))
                self.switch.change(SetAdminState(server, state), self.now)
            elif act == 4:
                self.switch.change(SetWeight(server, self.rng.randrange(4)), self.now)
            else:  # most are well most of the time
                for each in group.real_servers:
                    self.switch.change(SetHealth(each, True, "simulated"), self.now)
                    self.switch.change(SetAdminState(each, AdminState.READY), self.now)
                    self.switch.change(SetWeight(each, each.weight or 1), self.now)

    def flood(self, count: int) -> None:
        """SYNs, and ACKs that guess, from sources that nobody has."""
        group = self.rng.choice([each for each in self.groups if each.protocol == TCP])
        for _ in range(count):
            source = self.stranger(group)
            syn = packet(source, group.endpoint, TCP, b"", SYN, self.rng.randrange(1 << 32), 0)
            self.send(syn)
            guess = packet(source, group.endpoint, TCP, b"x", ACK, 7, self.rng.randrange(1 << 32))
            self.send(guess)

    def stranger(self, group: VirtualServer) -> Endpoint:
        low = self.rng.randrange(1 << 16)
        if group.endpoint.ip.version == 6:
            host = f"2001:db8:66::{low:x}"
        else:
            host = f"10.66.{low >> 8}.{low & 255}"
        return endpoint((host, self.rng.randrange(1, 1 << 16)))

    # -- conversations ---------------------------------------------------------------------

    def begin(self) -> None:
        group = self.rng.choice(self.groups)
        host = "2001:db8:1::" if group.endpoint.ip.version == 6 else "10.0.1."
        place = endpoint((f"{host}{self.rng.randrange(11, 16)}", 40000 + self.rng.randrange(8)))
        talk = Conversation(group, place, self.rng)
        if talk.key not in self.conversations:
            self.conversations[talk.key] = talk
            talk.real_server, talk.peer = self.past.get(talk.key, (None, None))
            self.go_on(talk)

    def go_on(self, talk: Conversation) -> None:
        """Let the client, or its server, do what comes next."""
        if talk.protocol == UDP:
            if self.from_client(talk) and self.rng.random() < 0.8:
                self.from_server(talk)
            talk.exchanges -= 1
            if talk.exchanges < 0:
                self.end(talk)
        elif not talk.sure:
            self.open_tcp(talk)
        elif talk.exchanges > 0:
            talk.exchanges -= 1
            if self.rng.random() < 0.5:
                self.from_server(talk, ACK | PSH)
            else:
                self.from_client(talk, ACK | PSH)
        else:
            self.close_tcp(talk)

    def open_tcp(self, talk: Conversation) -> None:
        if not self.from_client(talk, SYN, b""):
            return
        if self.rng.random() < 0.9 and self.from_server(talk, SYN | ACK, b""):
            talk.server_seq += 1
            talk.seq += 1
            if self.from_client(talk, ACK, b"") and talk.key in self.conversations:
                talk.sure = talk.fresh
                if not talk.fresh:  # the rest of somebody else's: try again from other ports
                    self.close_tcp(talk)
            else:
                talk.seq -= 1
                talk.server_seq -= 1

    def close_tcp(self, talk: Conversation) -> None:
        talk.sure = False
        way = self.rng.randrange(5)
        if way == 0:
            self.from_client(talk, RST)
        elif way == 1:
            self.from_server(talk, RST | ACK)
        elif way == 2 and self.from_client(talk, FIN | ACK):
            self.from_server(talk, FIN | ACK)
            self.from_client(talk, ACK)
        elif way == 3 and self.from_server(talk, FIN | ACK):
            self.from_client(talk, FIN | ACK)
            self.from_server(talk, ACK)
        self.end(talk)  # or the client vanishes without a word

    def end(self, talk: Conversation) -> None:
        self.past[talk.key] = talk.real_server, talk.peer
        self.conversations.pop(talk.key, None)

    def must_be_there(self, talk: Conversation) -> bool:
        timeout = DEFAULT_TIMEOUTS[State.UDP if talk.protocol == UDP else State.ESTABLISHED]
        if len(talk.went_on) < 2 and talk.last_sent <= self.last_full:
            return False  # it may have given way
        return talk.sure and self.now - talk.last_seen < timeout - 1

    def payload(self) -> bytes:
        return self.rng.randbytes(self.rng.choice([0, 1, 13, 64, 333]))

    def from_client(self, talk: Conversation, flags: int = 0, payload: bytes | None = None) -> bool:
        """Send a packet to the VIP; return whether the real server got it."""
        payload = self.payload() if payload is None else payload
        there = self.must_be_there(talk)
        server = talk.real_server
        data = packet(
            talk.client,
            talk.group.endpoint,
            talk.protocol,
            payload,
            flags,
            talk.seq,
            talk.server_seq if flags & ACK else 0,
        )
        reason, left = self.through(data)
        self.outcomes[reason] += 1
        if there:
            assert server is not None
            if server.severed:
                expected = {Reason.REAL_SERVER_DOWN, Reason.KNOWN_CONNECTION, *OPENING}
                expected |= {Reason.NO_REAL_SERVER, Reason.TABLE_FULL}
            else:
                expected = {Reason.KNOWN_CONNECTION}
            assert reason in expected, f"{talk.key}: {reason}"
        if left is None:
            talk.real_server = None
            talk.sure = False
            self.end(talk)
            return False
        arrived = Arrived.of(left)
        assert arrived.payload == payload
        assert talk.group.forward == "full_nat" or arrived.source == talk.client
        if reason in OPENING:
            talk.sure, talk.fresh = False, True
            talk.went_on.clear()
            chosen = talk.group.find(arrived.destination)
            assert chosen is not None
            assert chosen.usable, "somebody new at a server that is not usable"
            talk.real_server, talk.peer = chosen, arrived.source
        else:
            assert talk.real_server is not None
            assert arrived.destination == talk.real_server.endpoint, "another real server"
            assert arrived.source == talk.peer
        talk.last_seen, talk.last_sent = self.now, self.sent
        if talk.protocol == TCP and not flags & SYN:
            talk.seq += len(payload) + bool(flags & FIN)
            if talk.sure:
                talk.went_on.add("client")
        return True

    def from_server(self, talk: Conversation, flags: int = 0, payload: bytes | None = None) -> bool:
        """Send a packet back; return whether the client got it."""
        if talk.real_server is None or talk.peer is None:
            return False
        payload = self.payload() if payload is None else payload
        there = self.must_be_there(talk)
        data = packet(
            talk.real_server.endpoint,
            talk.peer,
            talk.protocol,
            payload,
            flags,
            talk.server_seq,
            talk.seq + bool(flags & SYN),
        )
        reason, left = self.through(data)
        assert not there or reason is Reason.KNOWN_CONNECTION, f"{talk.key}: {reason}"
        if left is None or reason is Reason.NOT_FOR_THE_SWITCH:
            return False
        arrived = Arrived.of(left)
        assert (arrived.source, arrived.destination) == (talk.group.endpoint, talk.client)
        assert arrived.payload == payload
        talk.last_seen, talk.last_sent = self.now, self.sent
        if talk.protocol == UDP:
            talk.sure = True
        elif not flags & SYN:
            talk.server_seq += len(payload) + bool(flags & FIN)
            if talk.sure:
                talk.went_on.add("server")
        return True

    def send(self, data: bytes) -> Seen:
        """Send a packet, and note whether the table was full."""
        full = len(self.switch.connections) == BOUND
        seen = send(self.switch, data, self.now)
        self.sent += 1
        if full or len(self.switch.connections) == BOUND:
            self.last_full = self.sent
        return seen

    def through(self, data: bytes) -> tuple[Reason, bytes | None]:
        """Send a packet, now and then in fragments; return the reason, and what arrived."""
        room = len(data) - (40 if data[0] >> 4 == 6 else 20)
        if room < 40 or self.rng.random() > 0.1:
            seen = self.send(data)
            return seen.reason, seen.data if self.goes_on(seen.action) else None
        units = range(3, (room - 1) // 8 + 1)
        cuts = sorted(self.rng.sample(units, min(len(units), 3)))
        self.identification = self.identification + 1 & 0xFFFF
        parts = fragments(data, cuts, self.identification)
        first = parts[0]
        self.rng.shuffle(parts)
        left = []
        reason = Reason.FRAGMENT_HELD
        for part in parts:
            seen = self.send(part)
            if part is first:
                reason = seen.reason
            if self.goes_on(seen.action):
                left.append(seen.data)
                left.extend(seen.verdict.packets)
        if not left:
            return reason, None
        whole = bytearray(reassembled(left))
        if whole[0] >> 4 == 4:
            assert soundness(bytes(left[0])).ip
            whole[10:12] = repaired(bytes(whole))[10:12]
        return reason, bytes(whole)

    @staticmethod
    def goes_on(action: Action) -> bool:
        return action in {Action.FORWARD, Action.PASS}


@pytest.mark.parametrize(("seed", "observed"), [(1, False), (2, False), (3, True)])
def test_a_day(seed: int, observed: bool) -> None:
    simulation = Simulation(seed, observed)
    steps = STEPS if seed == 1 else STEPS // 4
    simulation.run(steps)
    switch = simulation.switch
    assert len(switch.connections) == len(switch.fragments) == 0
    for group in simulation.groups:
        for server in group.real_servers:
            assert (server.active, server.inactive) == (0, 0)
    # It was a day worth looking at.
    counters = switch.counters
    for reason in (
        Reason.NEW_CONNECTION,
        Reason.KNOWN_CONNECTION,
        Reason.FRAGMENT,
        Reason.FRAGMENT_HELD,
        Reason.REAL_SERVER_DOWN,
        Reason.RESCHEDULED,
        Reason.UNKNOWN_TCP,
    ):
        assert counters[reason] >= max(1, steps // 4000), (reason, counters)
    assert bool(simulation.told) == observed
