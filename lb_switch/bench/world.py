"""A switch with three real servers, and connections of as many clients as are wanted."""

from __future__ import annotations

import struct

from lb_switch.engine.packet.checksum import internet_checksum, pseudo_header_sum
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.packet.tcp import ACK, SYN
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.switch import Switch

START = 10
"""Where a packet begins in the buffer: behind the virtio header of a TUN capture."""
SIZE = 40
"""Bytes of IPv4 and TCP headers without options."""
_SLACK = 65536

VIP = "10.0.1.100"
VIP6 = "2001:db8:1::100"
PORT = 80
REAL_PORT = 8080
"""Another one than the VIP's, so that ports are rewritten too."""
REAL_SERVERS = ("10.0.2.11", "10.0.2.12", "10.0.2.13")
REAL_SERVERS6 = ("2001:db8:2::11", "2001:db8:2::12", "2001:db8:2::13")

_VIP_BYTES = bytes([10, 0, 1, 100])
_PORT_BYTES = PORT.to_bytes(2, "big")
_SEQUENCE = 0x12345678
# The engine updates this checksum by what changes: it need not be right to cost what it costs.
_IP = struct.pack("!BBHHHBBH", 0x45, 0, SIZE, 1, 0x4000, 64, TCP, 0xBEEF)


def new_switch(max_connections: int) -> Switch:
    """A switch without virtual servers."""
    return Switch(Settings(max_connections=max_connections))


def add_service(
    switch: Switch, name: str, protocol: int, vip: str = VIP, rips: tuple[str, ...] = REAL_SERVERS
) -> None:
    """Give it a virtual server with round robin over these real servers."""
    real_servers = [RealServer(Endpoint.parse(_endpoint(each, REAL_PORT))) for each in rips]
    endpoint = Endpoint.parse(_endpoint(vip, PORT))
    switch.add_virtual_server(VirtualServer(name, endpoint, protocol, RoundRobin(), real_servers))


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def client_key(number: int) -> bytes:
    """The original flow key of connection `number`: a million addresses, then the next port."""
    address = 0x0B000000 + (number & 0xFFFFF)
    port = 1024 + (number >> 20)
    return address.to_bytes(4, "big") + _VIP_BYTES + port.to_bytes(2, "big") + _PORT_BYTES


def tcp_packet(key: bytes, flags: int) -> bytes:
    """A TCP segment without data of this flow key (IPv4), its TCP checksum right."""
    sequence = _SEQUENCE if flags & SYN else _SEQUENCE + 1
    words = (sequence, _SEQUENCE + 1, 0x50, flags, 512)
    pseudo = pseudo_header_sum(key[:4], key[4:8], TCP, 20)
    checksum = internet_checksum(key[8:] + struct.pack("!IIBBHHH", *words, 0, 0), pseudo)
    return _IP + key + struct.pack("!IIBBHHH", *words, checksum, 0)


class World:
    """One switch with the virtual server `web` (TCP), and the buffer its packets are in."""

    def __init__(self, max_connections: int) -> None:
        self.switch = new_switch(max_connections)
        add_service(self.switch, "web", TCP)
        self.buffer = bytearray(START + _SLACK)
        self.now = 0.0

    def put(self, packet: bytes) -> None:
        """Lay a packet into the buffer."""
        self.buffer[START : START + len(packet)] = packet

    def handle(self) -> None:
        """Let the switch decide on the 40 bytes in the buffer."""
        self.switch.handle_packet(self.buffer, START, SIZE, self.now)

    def reply(self) -> bytes:
        """The SYN/ACK to the forwarded SYN that is in the buffer."""
        buffer = self.buffer
        key = buffer[START + 16 : START + 20] + buffer[START + 12 : START + 16]
        key += buffer[START + 22 : START + 24] + buffer[START + 20 : START + 22]
        return tcp_packet(bytes(key), SYN | ACK)

    def establish(self, number: int) -> None:
        """Open connection `number` with a handshake of three packets."""
        key = client_key(number)
        self.put(tcp_packet(key, SYN))
        self.handle()
        self.put(self.reply())
        self.handle()
        self.put(tcp_packet(key, ACK))
        self.handle()

    def timers(self) -> None:
        """Do what the loop does after a batch: the timers that are due, one slice."""
        deadline = self.switch.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.switch.handle_timers(self.now)
