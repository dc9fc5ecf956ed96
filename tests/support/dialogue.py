"""A client and a real server talk through the engine, on a virtual clock."""

from __future__ import annotations

from typing import NamedTuple

from scapy.layers.inet import TCP
from scapy.packet import Packet

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP as TCP_NUMBER
from lb_switch.engine.packet.protocol import UDP as UDP_NUMBER
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason, Verdict
from tests.support.packets import HEADROOM, dissect, tcp, udp

CLIENT = ("10.0.1.11", 40000)
VIP = ("10.0.1.100", 80)
RIPS = (("10.0.2.11", 8080), ("10.0.2.12", 8080), ("10.0.2.13", 8080))
CLIENT6 = ("2001:db8:1::11", 40000)
VIP6 = ("2001:db8:1::100", 80)
RIPS6 = (("2001:db8:2::11", 8080), ("2001:db8:2::12", 8080))


def endpoint(place: tuple[str, int]) -> Endpoint:
    host, port = place
    return Endpoint.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def make_switch(
    vip: tuple[str, int] = VIP,
    rips: tuple[tuple[str, int], ...] = RIPS,
    scheduler: str = "rr",
    settings: Settings | None = None,
    protocols: tuple[int, ...] = (TCP_NUMBER, UDP_NUMBER),
    kind: type[Switch] = Switch,
) -> Switch:
    """Return a switch that serves `vip` by TCP (`web`) and UDP (`dns`)."""
    switch = kind(settings)
    for name, protocol in (("web", TCP_NUMBER), ("dns", UDP_NUMBER)):
        if protocol in protocols:
            servers = [RealServer(endpoint(rip)) for rip in rips]
            switch.add_virtual_server(
                VirtualServer(name, endpoint(vip), protocol, make(scheduler), servers)
            )
    return switch


class Seen(NamedTuple):
    """What came of a packet: the verdict and the bytes that left."""

    verdict: Verdict
    data: bytes

    @property
    def action(self) -> Action:
        return self.verdict.action

    @property
    def reason(self) -> Reason:
        return self.verdict.reason

    @property
    def packet(self) -> Packet:
        """The forwarded packet, dissected by scapy."""
        assert self.action is Action.FORWARD, self.verdict
        return dissect(self.data)

    @property
    def answer(self) -> Packet:
        """The one packet the switch answered with, dissected by scapy."""
        assert self.action is Action.REPLY, self.verdict
        (data,) = self.verdict.packets
        return dissect(data)

    @property
    def told(self) -> tuple[Packet, Packet]:
        """The answer to a client that is cut off, and what its real server is told."""
        assert self.action is Action.REPLY, self.verdict
        answer, told = map(dissect, self.verdict.packets)
        return answer, told


def send(switch: Switch, data: bytes, now: float = 0.0, partial: bool = False) -> Seen:
    """Put a packet through the engine, in a buffer whose other bytes must stay untouched."""
    before, behind = b"\xa5" * HEADROOM, b"\x5a" * 64
    buffer = bytearray(before + data + behind)
    verdict = switch.handle_packet(buffer, HEADROOM, len(data), now, partial)
    assert buffer[:HEADROOM] == before, "wrote in front of the packet"
    assert buffer[HEADROOM + len(data) :] == behind, "wrote behind the packet"
    result = bytes(buffer[HEADROOM : HEADROOM + len(data)])
    if verdict.action is not Action.FORWARD:
        assert result == data, "a packet that is not forwarded must stay as it is"
    return Seen(verdict, result)


class Dialogue:
    """One TCP conversation.  Both ends keep their sequence numbers as real ones would."""

    def __init__(
        self,
        switch: Switch,
        client: tuple[str, int] = CLIENT,
        vip: tuple[str, int] = VIP,
    ) -> None:
        self.switch = switch
        self.client_place = client
        self.vip = vip
        self.rip: tuple[str, int] | None = None
        self.now = 0.0
        self.sent: list[bytes] = []
        """What the switch sent on its own account while time passed."""
        self.client_sequence = 1000
        self.server_sequence = 5000

    def wait(self, seconds: float) -> None:
        """Let time pass; the engine's timers run as they come due."""
        end = self.now + seconds
        while (due := self.switch.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.sent += self.switch.handle_timers(self.now)
        self.now = end

    def client(self, flags: str, payload: bytes = b"", **fields: int) -> Seen:
        """Let the client send a segment to the VIP."""
        fields.setdefault("seq", self.client_sequence)
        fields.setdefault("ack", self.server_sequence if "A" in flags else 0)
        seen = send(
            self.switch, tcp(self.client_place, self.vip, flags, payload, **fields), self.now
        )
        if seen.action is Action.FORWARD:
            self.rip = (seen.packet.dst, seen.packet[TCP].dport)
        self.client_sequence += len(payload) + ("S" in flags) + ("F" in flags)
        return seen

    def server(self, flags: str, payload: bytes = b"", **fields: int) -> Seen:
        """Let the real server that the client was given send a segment."""
        assert self.rip is not None
        fields.setdefault("seq", self.server_sequence)
        fields.setdefault("ack", self.client_sequence if "A" in flags else 0)
        seen = send(
            self.switch, tcp(self.rip, self.client_place, flags, payload, **fields), self.now
        )
        self.server_sequence += len(payload) + ("S" in flags) + ("F" in flags)
        return seen

    def handshake(self) -> None:
        """Open the connection with three segments."""
        self.client("S")
        self.server("SA")
        self.client("A")

    @property
    def connection(self) -> Connection:
        """The one connection in the table."""
        (connection,) = self.switch.connections
        return connection

    def connection_of_client(self) -> Connection:
        """The connection of this client, where the table has others too."""
        source, destination = endpoint(self.client_place), endpoint(self.vip)
        key = source.ip.packed + destination.ip.packed
        key += source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")
        connection = self.switch.connections.find(TCP_NUMBER, key)
        assert connection is not None
        return connection

    def state(self) -> State:
        """The state of that connection, now."""
        return self.connection.state


def udp_dialogue(switch: Switch, payload: bytes = b"hello") -> tuple[Seen, Seen]:
    """Send a datagram to the VIP and an answer back."""
    there = send(switch, udp(CLIENT, VIP, payload))
    rip = (there.packet.dst, there.packet["UDP"].dport)
    back = send(switch, udp(rip, CLIENT, payload))
    return there, back
