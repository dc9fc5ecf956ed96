"""Makes the example's capture: `python -m lb_switch.examples FILE`.  Every run, the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

ExamplePacket = Any

BEGIN = 1_700_000_000
"""Seconds since 1970 of the first packet."""
_CLIENT_SIDE = {"src": "02:00:00:00:01:11", "dst": "02:00:00:00:01:01"}
_SERVER_SIDE = {"src": "02:00:00:00:02:11", "dst": "02:00:00:00:02:01"}
_REQUEST = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n"


def ip(source: str, destination: str) -> ExamplePacket:
    """Return an IP header of the addresses' version."""
    if ":" in source:
        return IPv6(src=source, dst=destination, hlim=64)
    return IP(src=source, dst=destination, ttl=64, id=0, flags="DF")


def from_client(packet: ExamplePacket) -> ExamplePacket:
    """Return the frame, as a client's router sends it."""
    return Ether(**_CLIENT_SIDE) / packet


def from_server(packet: ExamplePacket) -> ExamplePacket:
    """Return the frame, as a real server sends it."""
    return Ether(**_SERVER_SIDE) / packet


def web(client: str, port: int, vip: str, rip: str, number: int) -> list[ExamplePacket]:
    """Return one HTTP request and answer, both sides as the switch receives them.

    `number` is the client's first sequence number; the real server's is a million more.
    """
    theirs = number + 1_000_000
    asked, answered = number + 1 + len(_REQUEST), theirs + 1 + len(_ANSWER)

    def up(flags: str, seq: int, ack: int, data: bytes = b"") -> ExamplePacket:
        segment = TCP(sport=port, dport=80, flags=flags, seq=seq, ack=ack, window=64240)
        return from_client(ip(client, vip) / segment / Raw(data))

    def down(flags: str, seq: int, ack: int, data: bytes = b"") -> ExamplePacket:
        segment = TCP(sport=8080, dport=port, flags=flags, seq=seq, ack=ack, window=65160)
        return from_server(ip(rip, client) / segment / Raw(data))

    return [
        up("S", number, 0),
        down("SA", theirs, number + 1),
        up("A", number + 1, theirs + 1),
        up("PA", number + 1, theirs + 1, _REQUEST),
        down("A", theirs + 1, asked),
        down("PA", theirs + 1, asked, _ANSWER),
        up("FA", asked, answered),
        down("FA", answered, asked + 1),
        up("A", asked + 1, answered + 1),
    ]


def question(client: str, port: int, vip: str, rip: str) -> list[ExamplePacket]:
    """Return a question to the name server and its answer."""
    asked = DNSQR(qname="www.example.org")
    found = DNSRR(rrname="www.example.org", ttl=60, rdata="192.0.2.80")
    query = DNS(id=port, rd=1, qd=asked)
    reply = DNS(id=port, qr=1, rd=1, ra=1, qd=asked, an=found)
    return [
        from_client(ip(client, vip) / UDP(sport=port, dport=53) / query),
        from_server(ip(rip, client) / UDP(sport=53, dport=port) / reply),
    ]


def refused(client: str, port: int, vip: str) -> list[ExamplePacket]:
    """Return a SYN to a port that no virtual server has."""
    return [from_client(ip(client, vip) / TCP(sport=port, dport=8000, flags="S", seq=1))]


def ping(client: str, vip: str) -> list[ExamplePacket]:
    """Return an echo request, which the switch answers itself."""
    return [from_client(ip(client, vip) / ICMP(id=7, seq=1) / Raw(b"example"))]


def packets() -> list[ExamplePacket]:
    """Return all of it, with times: 10 ms from packet to packet, a second between stories."""
    vip, vip6 = "10.0.1.100", "2001:db8:1::100"
    stories = [
        web("10.0.1.11", 40001, vip, "10.0.2.11", 1000),
        web("10.0.1.12", 40002, vip, "10.0.2.12", 2000),
        web("10.0.1.11", 40003, vip, "10.0.2.11", 3000),
        web("2001:db8:1::11", 40004, vip6, "2001:db8:2::11", 4000),
        question("10.0.1.11", 50001, vip, "10.0.2.11"),
        question("10.0.1.12", 50002, vip, "10.0.2.12"),
        refused("10.0.1.12", 40005, vip),
        ping("10.0.1.12", vip),
    ]
    made = []
    for second, story in enumerate(stories):
        for position, packet in enumerate(story):
            packet.time = BEGIN + second + position / 100
            made.append(packet)
    return made


def make(path: Path) -> None:
    """Write the capture."""
    wrpcap(str(path), packets())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
