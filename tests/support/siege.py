"""A switch under attack, and honest conversations through it; all fast enough for millions.

Attackers' packets come from `netns_lab.attack`: those that `scripts/attack` sends on the wire.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Generator
from ipaddress import ip_address
from typing import Literal, NamedTuple

from lb_switch.daemon.loop import BATCH, sweep_if_due
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import Forward, RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Verdict
from netns_lab.attack import headers
from netns_lab.attack.floods import Target
from netns_lab.attack.headers import ACK, FIN, PSH, RST, SYN, TCP, UDP
from tests.support.dialogue import endpoint

PORT, VOID = 7, 9
SLOW = 0.010
"""Seconds of processor time that no packet may take."""
_BUCKETS = 20_000
_FRAGMENT = 44


Answer = Literal["answered", "completed", "refused"]


class Ends(NamedTuple):
    """Who sends and who receives, packed; ports together, as in a header."""

    source: bytes
    destination: bytes
    ports: bytes

    def turned_round(self) -> Ends:
        return Ends(self.destination, self.source, self.ports[2:] + self.ports[:2])


class Siege:
    """A switch of one family and one way to forward; packets go in, time is counted."""

    def __init__(self, six: bool, forward: Forward, bound: int, ports: tuple[int, int]) -> None:
        net = "2001:db8:{}::{}" if six else "10.0.{}.{}"
        vip, client = net.format(1, 100), net.format(1, 11)
        rips, snat = [net.format(2, 11), net.format(2, 12)], net.format(2, 200)
        self.switch = Switch(Settings(max_connections=bound, snat_ports=ports))
        full = forward == "full_nat"
        for name, protocol, port in (("echo", TCP, PORT), ("ask", UDP, PORT), ("void", UDP, VOID)):
            self.switch.add_virtual_server(
                VirtualServer(
                    name,
                    endpoint((vip, port)),
                    protocol,
                    make("rr"),
                    [RealServer(endpoint((rip, port))) for rip in rips],
                    forward=forward,
                    snat=ip_address(snat) if full else None,
                )
            )
        self.target = Target(
            vip=ip_address(vip).packed,
            tcp=PORT,
            udp=PORT,
            void=VOID,
            real_servers=tuple(ip_address(rip).packed for rip in rips),
            replies_to=ip_address(snat).packed if full else b"",
            forged=bytes.fromhex("20010db80bad") if six else b"\x0b",
            client=ip_address(client).packed,
        )
        self.now = 0.0
        self.taken = [0] * (_BUCKETS + 1)
        """Packets by whole microseconds of processor time; the last bucket: that, and longer."""
        self.slowest = 0.0
        self._buffer = bytearray(2048)
        self._length = 0
        self._since_timers = 0

    def put(self, packet: bytes) -> Verdict:
        """Hand over one packet; every so often also what the live loop does between batches."""
        self._length = len(packet)
        self._buffer[: self._length] = packet
        start = time.thread_time()
        verdict = self.switch.handle_packet(self._buffer, 0, self._length, self.now)
        took = time.thread_time() - start
        self.taken[min(int(took * 1e6), _BUCKETS)] += 1
        self.slowest = max(self.slowest, took)
        self._since_timers += 1
        if self._since_timers >= BATCH:
            self._since_timers = 0
            self.timers()
            sweep_if_due()
        return verdict

    def timers(self) -> None:
        """One slice of the timers that are due."""
        due = self.switch.next_deadline()
        if due is not None and due <= self.now:
            self.switch.handle_timers(self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, timers and all."""
        end = self.now + seconds
        while (due := self.switch.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.switch.handle_timers(self.now)
        self.now = end

    def out(self) -> Ends:
        """Between whom the packet is that left the switch last."""
        buffer, (_, l4) = self._buffer, self._place()
        ports = bytes(buffer[l4 : l4 + 4])
        if buffer[0] >> 4 == 4:
            return Ends(bytes(buffer[12:16]), bytes(buffer[16:20]), ports)
        return Ends(bytes(buffer[8:24]), bytes(buffer[24:40]), ports)

    def tail(self, length: int) -> bytes:
        """The last bytes of that packet."""
        return bytes(self._buffer[self._length - length : self._length])

    def answer(self, how: Answer = "answered") -> None:
        """Let a real server answer the packet that has just been forwarded to it, if it would.

        completed: whoever sent a SYN acknowledges the server's; refused: a SYN meets a RST, as it
        does in the end where a forged ACK follows it.
        """
        buffer, (protocol, l4) = self._buffer, self._place()
        ends = self.out().turned_round()
        if protocol == UDP and ends.ports[:2] == PORT.to_bytes(2, "big"):
            self.put(headers.udp(*ends, b"an answer of 24 bytes ..."))
        elif protocol == TCP and buffer[l4 + 13] == SYN:
            sequence = int.from_bytes(buffer[l4 + 4 : l4 + 8], "big") + 1 & 0xFFFFFFFF
            if how == "refused":
                self.put(headers.tcp(*ends, RST | ACK, 0, sequence))
                return
            answered = sequence ^ 0x5A5A5A5A
            verdict = self.put(headers.tcp(*ends, SYN | ACK, answered, sequence))
            if how == "completed" and verdict.action is Action.FORWARD:
                client = self.out().turned_round()
                self.put(headers.tcp(*client, ACK, sequence, answered + 1 & 0xFFFFFFFF))

    def _place(self) -> tuple[int, int]:
        """Protocol, and where its header is; protocol 0: a later fragment, which has none."""
        buffer = self._buffer
        if buffer[0] >> 4 == 4:
            return 0 if (buffer[6] & 0x1F) | buffer[7] else buffer[9], 20
        if buffer[6] != _FRAGMENT:
            return buffer[6], 40
        return 0 if buffer[42] | (buffer[43] & 0xF8) else buffer[40], 48

    def percentile(self, share: float) -> float:
        """Seconds of processor time that this share of the packets kept to."""
        wanted, seen = share * sum(self.taken), 0
        for microseconds, count in enumerate(self.taken):
            seen += count
            if seen >= wanted:
                return (microseconds + 1) / 1e6
        return self.slowest


class Talk:
    """A TCP conversation.  Both ends count as real ones do, and look at every byte."""

    def __init__(self, siege: Siege, port: int, first: int) -> None:
        self.siege = siege
        target = siege.target
        ports = port.to_bytes(2, "big") + PORT.to_bytes(2, "big")
        self.client = Ends(target.client, target.vip, ports)
        """As the client sends."""
        self.server: Ends | None = None
        """As the real server sends, once it was reached."""
        self.sent = [first, first ^ 0x3C3C3C3C]
        """The next sequence number of the client and of the real server."""
        self._challenged = [-1.0, -1.0]

    def steps(self) -> Generator[Verdict | None, None, bool]:
        """The handshake and an exchange, a packet at each step; whether all arrived."""
        verdict = self._send(0, SYN)
        if verdict.action is Action.FORWARD:
            self.server = self.siege.out().turned_round()
        yield verdict
        if self.server is None:
            return False
        for side, flags, data in (
            (1, SYN | ACK, b""),
            (0, ACK, b""),
            (0, ACK | PSH, b"a question"),
            (1, ACK | PSH, b"a question"),
            (0, ACK, b""),
        ):
            if not self._arrives(side, flags, data):
                return False
            yield None
        return True

    def open(self) -> None:
        """All of it at once, and another exchange; it must succeed."""
        for _ in self.steps():
            pass
        assert self.exchange(b"and another")

    def exchange(self, data: bytes) -> bool:
        """Data there and back, each acknowledged; whether all of it arrived where it should."""
        return all(
            self._arrives(side, flags, payload)
            for side, flags, payload in (
                (0, ACK | PSH, data),
                (1, ACK | PSH, data[::-1]),
                (0, ACK, b""),
            )
        )

    def close(self) -> bool:
        """An orderly end, the client first."""
        return all(
            self._arrives(side, flags, b"")
            for side, flags in ((0, FIN | ACK), (1, FIN | ACK), (0, ACK))
        )

    def reset(self, side: int) -> bool:
        """The end by a RST that is right."""
        return self._arrives(side, RST, b"")

    @property
    def connection(self) -> Connection | None:
        """What the table has under the client's key."""
        source, destination, ports = self.client
        return self.siege.switch.connections.find(TCP, source + destination + ports)

    @property
    def state(self) -> State | None:
        """Its state in the table; None: it is not there."""
        connection = self.connection
        return None if connection is None else connection.state

    def challenged(self, side: int, flags: int, sequence: int) -> None:
        """Let the receiver of a blind segment react (RFC 9293, 3.10.7.4; RFC 5961).

        side: whose name it bears.  A RST outside the window is ignored; everything else that is
        refused is answered by an ACK, one in half a second (as Linux does).
        """
        expected = self.sent[side]
        assert sequence != expected or not flags & RST, "not blind: choose another seed"
        if flags & RST and (sequence - expected) & 0xFFFFFFFF > 0xFFFF:
            return
        receiver = 1 - side
        if self.siege.now - self._challenged[receiver] >= 0.5:
            self._challenged[receiver] = self.siege.now
            assert self._arrives(receiver, ACK, b"")

    def _arrives(self, side: int, flags: int, data: bytes) -> bool:
        """Send, and see whether it reaches the other end as it should."""
        if self._send(side, flags, data).action is not Action.FORWARD:
            return False
        assert self.server is not None
        arrived = (self.client, self.server)[1 - side].turned_round()
        return self.siege.out() == arrived and self.siege.tail(len(data)) == data

    def _send(self, side: int, flags: int, data: bytes = b"") -> Verdict:
        ends = (self.client, self.server)[side]
        assert ends is not None
        sequence = self.sent[side]
        acked = self.sent[1 - side] if flags & ACK else 0
        packet = headers.tcp(*ends, flags, sequence, acked, data)
        length = len(data) + (flags & SYN > 0) + (flags & FIN > 0)
        self.sent[side] = sequence + length & 0xFFFFFFFF
        return self.siege.put(packet)


def sequence_and_flags(packet: bytes) -> tuple[int, int]:
    """Of a TCP segment without IP options."""
    at = 20 if packet[0] >> 4 == 4 else 40
    number, flags = struct.unpack_from("!4xI5xB", packet, at)
    return number, flags
