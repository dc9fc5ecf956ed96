"""One row, one behaviour: a sentence, the packets that come, and what must come of each.

Every row is played over IPv4 and over IPv6 (unless it says otherwise), on a switch with one real
server.  Expected packets are made by scapy: fields edited, every checksum computed from nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

from lb_switch.engine.changes import SetAdminState, SetHealth, SetWeight
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import AdminState, OnDown, RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    endpoint,
    make_switch,
    send,
)
from tests.support.packets import corrupted, differences, edited, ip, recomputed, tcp, udp
from tests.support.roads import ReadableSwitch, ignore
from tests.support.soundness import soundness

Place = tuple[str, int]

FORWARD, REPLY, PASS, DROP = Action.FORWARD, Action.REPLY, Action.PASS, Action.DROP


@dataclass(frozen=True)
class Net:
    """The addresses of one family."""

    client: Place
    vip: Place
    rip: Place
    other: Place
    elsewhere: Place
    spare: Place

    @property
    def six(self) -> bool:
        return ":" in self.vip[0]

    def head(self, **fields: Any) -> Any:
        """Return the IP header of a packet from the client to the VIP."""
        return ip(self.client[0], self.vip[0], **fields)

    def extended(self) -> Any:
        """Return the same with many options, or with extension headers."""
        if self.six:
            return self.head() / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt()
        return self.head(options=[IPOption_RR(routers=["0.0.0.0"] * 8)] + [IPOption_NOP()] * 4)

    @property
    def ports(self) -> dict[str, int]:
        return {"sport": self.client[1], "dport": self.vip[1]}

    def syn(self, **fields: Any) -> bytes:
        return tcp(self.client, self.vip, "S", seq=1000, **fields)

    def there(self, data: bytes) -> bytes:
        """Return what becomes of a packet to the VIP."""
        return edited(data, destination=self.rip)

    def back(self, data: bytes) -> bytes:
        """Return what becomes of a packet from the real server."""
        return edited(data, source=self.vip)

    def reset(self, **fields: Any) -> bytes:
        """Return a RST from the VIP to the client, as the switch makes it."""
        ends = {"src": self.vip[0], "dst": self.client[0]}
        ports = {"sport": fields.pop("sport", self.vip[1]), "dport": self.client[1]}
        return self._own(ends, {"id": 0, "flags": "DF"}, TCP(window=0, **ports, **fields))

    def told(self, **fields: Any) -> bytes:
        """Return what the real server is told when its client is cut off."""
        ends = {"src": self.client[0], "dst": self.rip[0]}
        ports = {"sport": self.client[1], "dport": self.rip[1]}
        return self._own(ends, {"id": 0, "flags": "DF"}, TCP(window=512, **ports, **fields))

    def answered(self, **fields: Any) -> bytes:
        """Return a RST to the real server, as the switch makes it of a packet that came."""
        ends = {"src": self.client[0], "dst": self.rip[0]}
        ports = {"sport": self.client[1], "dport": self.rip[1]}
        return self._own(
            ends, {"id": 0, "flags": "DF"}, TCP(window=0, flags="R", **ports, **fields)
        )

    def _own(self, ends: dict[str, str], fields_of_ip: dict[str, Any], segment: Any) -> bytes:
        header = IPv6(hlim=64, **ends) if self.six else IP(ttl=64, **ends, **fields_of_ip)
        return bytes(header / segment)


V4 = Net(CLIENT, VIP, RIPS[0], ("10.0.1.12", 5000), ("10.0.9.9", 53), RIPS[1])
V6 = Net(CLIENT6, VIP6, RIPS6[0], ("2001:db8:1::12", 5000), ("2001:db8:9::9", 53), RIPS6[1])


class Step(NamedTuple):
    """A packet, and what must come of it.

    `out`: the packet that must leave, in place of it or as the answer; None: not looked at.
    """

    data: bytes
    action: Action
    reason: Reason
    out: bytes | None = None
    partial: bool = False
    first: Callable[[Switch], None] | None = None
    """What an operator or a health check does just before."""


Prepare = Callable[[Switch, Net], None]


@dataclass(frozen=True)
class Row:
    sentence: str
    steps: Callable[[Net], list[Step]]
    prepare: Prepare = lambda _switch, _net: None
    settings: Settings = field(default_factory=Settings)
    families: tuple[int, ...] = (4, 6)


ROWS: list[Row] = []


def row(
    sentence: str,
    *,
    families: tuple[int, ...] = (4, 6),
    prepare: Prepare | None = None,
    **settings: Any,
) -> Callable[[Callable[[Net], list[Step]]], None]:
    """Add a row; the function gives its steps."""

    def add(steps: Callable[[Net], list[Step]]) -> None:
        nothing: Prepare = lambda _switch, _net: None  # noqa: E731
        ROWS.append(Row(sentence, steps, prepare or nothing, Settings(**settings), families))

    return add


def handshake(net: Net) -> list[Step]:
    syn_ack = tcp(net.rip, net.client, "SA", seq=5000, ack=1001)
    ack = tcp(net.client, net.vip, "A", seq=1001, ack=5001)
    return [
        Step(net.syn(), FORWARD, Reason.NEW_CONNECTION, net.there(net.syn())),
        Step(syn_ack, FORWARD, Reason.KNOWN_CONNECTION, net.back(syn_ack)),
        Step(ack, FORWARD, Reason.KNOWN_CONNECTION, net.there(ack)),
    ]


def known(data: bytes, out: bytes) -> Step:
    return Step(data, FORWARD, Reason.KNOWN_CONNECTION, out)


def dropped(data: bytes, reason: Reason) -> Step:
    return Step(data, DROP, reason)


# -- TCP ---------------------------------------------------------------------------------------


@row("three segments open a connection, data flows both ways")
def _(net: Net) -> list[Step]:
    request = tcp(net.client, net.vip, "PA", b"a request of odd length", seq=1001, ack=5001)
    reply = tcp(net.rip, net.client, "PA", b"and its reply!", seq=5001, ack=1024)
    return [
        *handshake(net),
        known(request, net.there(request)),
        known(reply, net.back(reply)),
    ]


@row("a SYN that comes again goes to the same real server")
def _(net: Net) -> list[Step]:
    return [*handshake(net)[:1], known(net.syn(), net.there(net.syn()))]


@row("a SYN with data and options is a SYN")
def _(net: Net) -> list[Step]:
    syn = net.syn(
        options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7), ("Timestamp", (1, 0))],
        payload=b"fast open",
    )
    return [Step(syn, FORWARD, Reason.NEW_CONNECTION, net.there(syn))]


@row("a SYN on the ports of a closed connection is scheduled anew, and that very SYN goes on")
def _(net: Net) -> list[Step]:
    reset = tcp(net.client, net.vip, "R", seq=1001)
    syn = tcp(net.client, net.vip, "S", seq=0xFFFFFFFF)
    return [
        *handshake(net),
        known(reset, net.there(reset)),
        Step(syn, FORWARD, Reason.PORT_REUSE, net.there(syn)),
    ]


@row("a SYN inside a live connection is forwarded and changes nothing")
def _(net: Net) -> list[Step]:
    stray = tcp(net.client, net.vip, "S", seq=77)
    data = tcp(net.client, net.vip, "A", b"still here", seq=1001, ack=5001)
    return [*handshake(net), known(stray, net.there(stray)), known(data, net.there(data))]


@row("a segment of no connection is answered by a RST that its sender believes")
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "A", b"abc", seq=10, ack=0xFFFFFFF0)
    return [Step(data, REPLY, Reason.UNKNOWN_TCP, net.reset(flags="R", seq=0xFFFFFFF0))]


@row("so is one without ACK, by its length: data, SYN and FIN count")
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "F", b"abc", seq=0xFFFFFFFE)
    return [Step(data, REPLY, Reason.UNKNOWN_TCP, net.reset(flags="RA", seq=0, ack=2))]


@row("a SYN/ACK of no connection too: it opens nothing")
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "SA", seq=10, ack=20)
    return [Step(data, REPLY, Reason.UNKNOWN_TCP, net.reset(flags="R", seq=20))]


@row("or it is dropped, by option", unknown_tcp="drop")
def _(net: Net) -> list[Step]:
    return [dropped(tcp(net.client, net.vip, "A"), Reason.UNKNOWN_TCP)]


@row("or scheduled, by option", unknown_tcp="schedule")
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "A", b"in the middle", seq=5, ack=6)
    reply = tcp(net.rip, net.client, "A", b"of something", seq=6, ack=18)
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(reply, net.back(reply)),
    ]


@row("a RST of no connection is never answered")
def _(net: Net) -> list[Step]:
    return [
        dropped(tcp(net.client, net.vip, "R"), Reason.UNKNOWN_TCP),
        dropped(tcp(net.client, net.vip, "RA"), Reason.UNKNOWN_TCP),
    ]


@row("a RST far from what was acknowledged is forwarded and not believed")
def _(net: Net) -> list[Step]:
    server = tcp(net.rip, net.client, "A", seq=5001, ack=1001)
    forged = tcp(net.client, net.vip, "R", seq=0x80000000)
    data = tcp(net.client, net.vip, "A", b"alive", seq=1001, ack=5001)
    return [
        *handshake(net),
        known(server, net.back(server)),
        Step(forged, FORWARD, Reason.RST_OUT_OF_WINDOW, net.there(forged)),
        known(data, net.there(data)),
    ]


@row("FINs of both sides, the last ACK, and late segments all find their way")
def _(net: Net) -> list[Step]:
    segments = [
        tcp(net.client, net.vip, "FA", seq=1001, ack=5001),
        tcp(net.rip, net.client, "A", b"half-closed", seq=5001, ack=1002),
        tcp(net.rip, net.client, "FA", seq=5012, ack=1002),
        tcp(net.client, net.vip, "A", seq=1002, ack=5013),
        tcp(net.rip, net.client, "FA", seq=5012, ack=1002),
        tcp(net.client, net.vip, "A", seq=1002, ack=5013),
    ]
    ways = [net.there, net.back, net.back, net.there, net.back, net.there]
    return [
        *handshake(net),
        *(known(data, way(data)) for data, way in zip(segments, ways, strict=True)),
    ]


@row("a port without virtual server refuses a SYN")
def _(net: Net) -> list[Step]:
    data = tcp(net.client, (net.vip[0], 81), "S", b"xyz", seq=41)
    return [
        Step(
            data,
            REPLY,
            Reason.NO_VIRTUAL_SERVER,
            net.reset(flags="RA", seq=0, ack=45, sport=81),
        )
    ]


# -- UDP ---------------------------------------------------------------------------------------


@row("a datagram and its answer")
def _(net: Net) -> list[Step]:
    for_ward, back = udp(net.client, net.vip, b"odd"), udp(net.rip, net.client, b"answer!")
    return [
        Step(for_ward, FORWARD, Reason.NEW_CONNECTION, net.there(for_ward)),
        known(back, net.back(back)),
        known(for_ward, net.there(for_ward)),
    ]


@row("a datagram of no bytes")
def _(net: Net) -> list[Step]:
    data = udp(net.client, net.vip)
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(data, net.there(data)),
    ]


@row("checksum zero over IPv4 means none, and stays zero", families=(4,))
def _(net: Net) -> list[Step]:
    data, back = udp(net.client, net.vip, b"abc", chksum=0), udp(net.rip, net.client, chksum=0)
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(data, net.there(data)),
        known(back, net.back(back)),
    ]


@row("checksum zero over IPv6 is refused, with and without connection", families=(6,))
def _(net: Net) -> list[Step]:
    data, good = udp(net.client, net.vip, b"abc", chksum=0), udp(net.client, net.vip, b"abc")
    back = udp(net.rip, net.client, b"a longer answer", chksum=0)
    return [
        dropped(data, Reason.UDP_ZERO_CHECKSUM),
        Step(good, FORWARD, Reason.NEW_CONNECTION, net.there(good)),
        dropped(data, Reason.UDP_ZERO_CHECKSUM),
        dropped(back, Reason.UDP_ZERO_CHECKSUM),
    ]


def completing(build: Callable[[bytes], bytes], way: Callable[[bytes], bytes], at: int) -> bytes:
    """Return the packet whose payload makes the translated packet's checksum compute to zero."""
    checksum = way(build(bytes(20)))[at : at + 2]
    return build(bytes(18) + checksum)


@row("a checksum that computes to zero is sent as 0xFFFF")
def _(net: Net) -> list[Step]:
    at = 46 if net.six else 26
    data = completing(lambda payload: udp(net.client, net.vip, payload), net.there, at)
    back = completing(lambda payload: udp(net.rip, net.client, payload), net.back, at)
    assert net.there(data)[at : at + 2] == net.back(back)[at : at + 2] == b"\xff\xff"
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(data, net.there(data)),
        known(back, net.back(back)),
    ]


@row("a checksum of 0xFFFF that comes in is a computed one")
def _(net: Net) -> list[Step]:
    at = 46 if net.six else 26
    data = completing(lambda payload: udp(net.client, net.vip, payload), bytes, at)
    assert data[at : at + 2] == b"\xff\xff"
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(data, net.there(data)),
    ]


@row("a port without virtual server is unreachable")
def _(net: Net) -> list[Step]:
    data = udp(net.client, (net.vip[0], 81), b"hello?")
    if net.six:
        error = IPv6(src=net.vip[0], dst=net.client[0]) / ICMPv6DestUnreach(code=4) / Raw(data)
    else:
        head = IP(src=net.vip[0], dst=net.client[0], id=0, flags="DF")
        error = head / ICMP(type=3, code=3) / Raw(data)
    return [Step(data, REPLY, Reason.NO_VIRTUAL_SERVER, bytes(error))]


# -- headers that are unusual ------------------------------------------------------------------


@row("IP options or extension headers stay as they are; TCP")
def _(net: Net) -> list[Step]:
    syn = bytes(net.extended() / TCP(**net.ports, flags="S", options=[("NOP", None)] * 40))
    return [
        Step(syn, FORWARD, Reason.NEW_CONNECTION, net.there(syn)),
        known(syn, net.there(syn)),
    ]


@row("IP options or extension headers stay as they are; UDP, odd length")
def _(net: Net) -> list[Step]:
    data = bytes(net.extended() / UDP(**net.ports) / b"odd")
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(data, net.there(data)),
    ]


@row("an atomic fragment is a whole packet (RFC 6946)", families=(6,))
def _(net: Net) -> list[Step]:
    data = bytes(net.head() / IPv6ExtHdrFragment(id=9) / UDP(**net.ports) / b"whole")
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        known(data, net.there(data)),
    ]


@row("padding behind the packet is no part of it")
def _(net: Net) -> list[Step]:
    padding = b"\xde\xad\xbe\xef" * 4
    syn, data = net.syn(), udp(net.client, net.vip, b"abc")
    ack = tcp(net.client, net.vip, "A", seq=1001, ack=5001)
    return [
        Step(syn + padding, FORWARD, Reason.NEW_CONNECTION, net.there(syn) + padding),
        *handshake(net)[1:],
        known(ack + padding, net.there(ack) + padding),
        Step(data + padding, FORWARD, Reason.NEW_CONNECTION, net.there(data) + padding),
    ]


@row("a packet that is damaged stays damaged by as much")
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "A", b"a payload that will be damaged", seq=1001, ack=5001)
    back = tcp(net.rip, net.client, "A", b"a payload that will be damaged", seq=5001, ack=1001)
    asked = udp(net.client, net.vip, b"a payload that will be damaged")
    return [
        *handshake(net),
        known(corrupted(data, len(data) - 3), corrupted(net.there(data), len(data) - 3)),
        known(corrupted(back, len(back) - 2), corrupted(net.back(back), len(back) - 2)),
        Step(
            corrupted(asked, len(asked) - 3),
            FORWARD,
            Reason.NEW_CONNECTION,
            corrupted(net.there(asked), len(asked) - 3),
        ),
    ]


@row("a damaged header checksum stays damaged by as much", families=(4,))
def _(net: Net) -> list[Step]:
    syn = net.syn()
    return [Step(corrupted(syn, 8), FORWARD, Reason.NEW_CONNECTION, corrupted(net.there(syn), 8))]


@row("a partial checksum is the plain sum of the pseudo-header, and stays one")
def _(net: Net) -> list[Step]:
    def partial(data: bytes, at: int) -> bytes:
        changed = bytearray(data)
        l4 = 40 if net.six else 20
        addresses = data[8:40] if net.six else data[12:20]
        pseudo = addresses + struct.pack("!HH", len(data) - l4, data[6 if net.six else 9])
        total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        changed[l4 + at : l4 + at + 2] = total.to_bytes(2, "big")
        return bytes(changed)

    syn, syn_ack, ack = (step.data for step in handshake(net))
    data = tcp(net.client, net.vip, "PA", bytes(3000), seq=1001, ack=5001)
    asked, answer = udp(net.client, net.vip, bytes(99)), udp(net.rip, net.client, bytes(99))

    def step(data: bytes, out: bytes, at: int, reason: Reason) -> Step:
        return Step(partial(data, at), FORWARD, reason, partial(out, at), partial=True)

    new, old = Reason.NEW_CONNECTION, Reason.KNOWN_CONNECTION
    return [
        step(syn, net.there(syn), 16, new),
        step(syn_ack, net.back(syn_ack), 16, old),
        step(ack, net.there(ack), 16, old),
        step(data, net.there(data), 16, old),
        step(asked, net.there(asked), 6, new),
        step(asked, net.there(asked), 6, old),
        step(answer, net.back(answer), 6, old),
    ]


# -- headers that lie --------------------------------------------------------------------------


@row("every cut of a packet is dropped as truncated")
def _(net: Net) -> list[Step]:
    syn = net.syn()
    return [dropped(syn[:length], Reason.TRUNCATED) for length in range(len(syn))]


@row("lengths that lie upwards", families=(4,))
def _(net: Net) -> list[Step]:
    return [
        dropped(bytes(net.head(len=41) / TCP(**net.ports)), Reason.TRUNCATED),
        dropped(bytes(net.head(len=65535) / TCP(**net.ports)), Reason.TRUNCATED),
        dropped(bytes(net.head() / UDP(**net.ports, len=65535)), Reason.TRUNCATED),
        dropped(bytes(net.head() / TCP(**net.ports, dataofs=15)), Reason.TRUNCATED),
        dropped(bytes(net.head(ihl=15) / TCP(**net.ports)), Reason.BAD_HEADER),
    ]


@row("lengths that lie upwards", families=(6,))
def _(net: Net) -> list[Step]:
    return [
        dropped(bytes(net.head(plen=21) / TCP(**net.ports)), Reason.TRUNCATED),
        dropped(bytes(net.head(plen=65535) / TCP(**net.ports)), Reason.TRUNCATED),
        dropped(bytes(net.head() / UDP(**net.ports, len=65535)), Reason.TRUNCATED),
        dropped(bytes(net.head() / TCP(**net.ports, dataofs=15)), Reason.TRUNCATED),
        dropped(
            bytes(net.head() / IPv6ExtHdrHopByHop(len=255) / TCP(**net.ports)), Reason.TRUNCATED
        ),
    ]


@row("lengths that lie downwards")
def _(net: Net) -> list[Step]:
    short = {"plen": 7} if net.six else {"len": 27}
    tiny = {"plen": 0, "nh": 6} if net.six else {"len": 19}
    return [
        dropped(bytes(net.head(**short) / UDP(**net.ports)), Reason.TRUNCATED),
        dropped(
            bytes(net.head(**tiny) / TCP(**net.ports)),
            Reason.TRUNCATED if net.six else Reason.BAD_HEADER,
        ),
        dropped(bytes(net.head() / UDP(**net.ports, len=7)), Reason.BAD_HEADER),
        dropped(bytes(net.head() / TCP(**net.ports, dataofs=4)), Reason.BAD_HEADER),
    ]


@row("a UDP length below the IP length: the rest is not UDP's, and goes along")
def _(net: Net) -> list[Step]:
    data = bytes(net.head() / UDP(**net.ports, len=11, chksum=0x1234) / b"abcdefgh")
    return [Step(data, FORWARD, Reason.NEW_CONNECTION)]


@row("versions that do not exist")
def _(net: Net) -> list[Step]:
    return [
        dropped(bytes([version << 4 | 5]) + net.syn()[1:], Reason.BAD_HEADER)
        for version in (0, 1, 2, 3, 5, 7, 8, 15)
    ]


@row("an IPv4 header length below five", families=(4,))
def _(net: Net) -> list[Step]:
    return [dropped(bytes(net.head(ihl=n) / TCP(**net.ports)), Reason.BAD_HEADER) for n in (0, 4)]


@row("a chain of extension headers without end is not followed to its end", families=(6,))
def _(net: Net) -> list[Step]:
    chain = b"\x3c\x00" + bytes(6)
    long = bytes(net.head(nh=60, plen=8 * 7000 + 20)) + chain * 7000 + bytes(20)
    return [dropped(long, Reason.BAD_HEADER)]


@row("a second fragment header is refused", families=(6,))
def _(net: Net) -> list[Step]:
    twice = net.head() / IPv6ExtHdrFragment(m=1, id=7) / IPv6ExtHdrFragment(m=1, id=8)
    return [dropped(bytes(twice / UDP(**net.ports) / bytes(8)), Reason.BAD_HEADER)]


@row("a routing header with addresses still to visit is not for the VIP to read", families=(6,))
def _(net: Net) -> list[Step]:
    """The checksum covers the last address of the list, which is not the VIP."""
    routed = IPv6ExtHdrRouting(addresses=["2001:db8:9::1"], segleft=1)
    arrived = IPv6ExtHdrRouting(addresses=["2001:db8:9::1"], segleft=0)
    data = bytes(net.head() / arrived / UDP(**net.ports) / b"hello")
    elsewhere = IPv6(src=net.client[0], dst=net.elsewhere[0]) / routed / UDP(**net.ports)
    return [
        dropped(bytes(net.head() / routed / UDP(**net.ports)), Reason.UNSUPPORTED_PROTOCOL),
        Step(bytes(elsewhere), PASS, Reason.NOT_FOR_THE_SWITCH),
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
    ]


# -- who sends what to whom --------------------------------------------------------------------


@row("a real server's own traffic is not rewritten")
def _(net: Net) -> list[Step]:
    return [
        Step(tcp(net.rip, net.elsewhere, "S"), PASS, Reason.NOT_FOR_THE_SWITCH),
        Step(udp(net.rip, net.elsewhere, b"x" * 20), PASS, Reason.NOT_FOR_THE_SWITCH),
        Step(tcp(net.rip, net.client, "A"), PASS, Reason.NOT_FOR_THE_SWITCH),
        Step(tcp(net.client, net.rip, "S"), PASS, Reason.NOT_FOR_THE_SWITCH),
    ]


@row("other protocols to the VIP are dropped, elsewhere they pass")
def _(net: Net) -> list[Step]:
    number = {"nh": 47} if net.six else {"proto": 47}
    head = IPv6 if net.six else IP
    elsewhere = head(src=net.client[0], dst=net.elsewhere[0], **number)
    return [
        dropped(bytes(net.head(**number) / Raw(bytes(8))), Reason.UNSUPPORTED_PROTOCOL),
        Step(bytes(elsewhere / Raw(bytes(8))), PASS, Reason.NOT_FOR_THE_SWITCH),
    ]


def echo(net: Net, data: bytes = b"odd length payload!") -> bytes:
    kind = ICMPv6EchoRequest(id=5, seq=9, data=data) if net.six else ICMP(id=5, seq=9) / Raw(data)
    return bytes(net.head() / kind)


@row("echo to the VIP is answered with the same data")
def _(net: Net) -> list[Step]:
    data = b"odd length payload!"
    if net.six:
        reply = IPv6(src=net.vip[0], dst=net.client[0]) / ICMPv6EchoReply(id=5, seq=9, data=data)
    else:
        reply = ip(net.vip[0], net.client[0]) / ICMP(type=0, id=5, seq=9) / Raw(data)
    return [Step(echo(net), REPLY, Reason.ECHO_TO_VIP, bytes(reply))]


@row("a damaged echo request is not answered with a sound reply")
def _(net: Net) -> list[Step]:
    return [dropped(corrupted(echo(net), len(echo(net)) - 4), Reason.BAD_CHECKSUM)]


@row("ICMP of the other IP version is no echo request")
def _(net: Net) -> list[Step]:
    if net.six:
        data = bytes(net.head(nh=1) / Raw(b"\x80\x00\x7f\xff" + bytes(8)))
    else:
        data = bytes(net.head(proto=58) / Raw(b"\x08\x00\xf7\xff" + bytes(8)))
    return [dropped(data, Reason.UNSUPPORTED_PROTOCOL)]


@row("neighbour solicitations for the VIP are the host's to answer", families=(6,))
def _(net: Net) -> list[Step]:
    data = bytes(net.head() / ICMPv6ND_NS(tgt=net.vip[0]))
    return [Step(data, PASS, Reason.NOT_FOR_THE_SWITCH)]


@row("a source address that is the VIP itself is forged (LAND)")
def _(net: Net) -> list[Step]:
    return [
        dropped(tcp(net.vip, net.vip, "S"), Reason.FORGED_SOURCE),
        dropped(udp(net.vip, net.vip, b"echo!"), Reason.FORGED_SOURCE),
        dropped(udp((net.vip[0], 7), (net.vip[0], 81)), Reason.FORGED_SOURCE),
        dropped(recomputed(bytes(edit_source(echo(net), net.vip[0]))), Reason.FORGED_SOURCE),
    ]


@row("so is a source that is nobody's or everybody's")
def _(net: Net) -> list[Step]:
    nobody = ("::", "ff02::1") if net.six else ("0.0.0.0", "224.0.0.1", "255.255.255.255")
    return [
        dropped(data, Reason.FORGED_SOURCE)
        for source in nobody
        for data in (
            tcp((source, 9), net.vip, "S"),
            tcp((source, 9), (net.vip[0], 81), "S"),
            udp((source, 9), (net.vip[0], 81)),
            recomputed(edit_source(echo(net), source)),
        )
    ]


def edit_source(data: bytes, source: str) -> bytes:
    packet = IPv6(data) if data[0] >> 4 == 6 else IP(data)
    packet.src = source
    return bytes(packet)


# -- real servers ------------------------------------------------------------------------------


def each_server(change: Callable[[Switch, Any], None]) -> Prepare:
    def prepare(switch: Switch, net: Net) -> None:
        for group in switch.virtual_servers.values():
            for server in group.real_servers:
                change(switch, server)

    return prepare


for _sentence, _change in {
    "down": lambda switch, server: switch.change(SetHealth(server, False, "connect refused"), 0.0),
    "drained": lambda switch, server: switch.change(SetAdminState(server, AdminState.DRAIN), 0.0),
    "of weight 0": lambda switch, server: switch.change(SetWeight(server, 0), 0.0),
    "in maintenance": lambda switch, server: switch.change(
        SetAdminState(server, AdminState.MAINT), 0.0
    ),
}.items():

    @row(f"all real servers {_sentence}: new connections are refused", prepare=each_server(_change))
    def _(net: Net) -> list[Step]:
        asked = udp(net.client, net.vip, b"hello?")
        if net.six:
            error = IPv6(src=net.vip[0], dst=net.client[0]) / ICMPv6DestUnreach(code=4) / asked
        else:
            head = IP(src=net.vip[0], dst=net.client[0], id=0, flags="DF")
            error = head / ICMP(type=3, code=3) / asked
        reset = net.reset(flags="RA", seq=0, ack=1001)
        return [
            Step(net.syn(), REPLY, Reason.NO_REAL_SERVER, reset),
            Step(asked, REPLY, Reason.NO_REAL_SERVER, bytes(error)),
        ]


def on_down(what: OnDown) -> Prepare:
    def prepare(switch: Switch, net: Net) -> None:
        """Give each group a second server, and say what happens when the first goes down."""
        for group in switch.virtual_servers.values():
            group.on_down = what
            group.add(RealServer(endpoint(net.spare)))

    return prepare


def out_of_service(switch: Switch) -> None:
    for group in switch.virtual_servers.values():
        switch.change(SetHealth(group.real_servers[0], False, "timeout after 1.0 s"), 0.0)


def drained(switch: Switch) -> None:
    for group in switch.virtual_servers.values():
        switch.change(SetAdminState(group.real_servers[0], AdminState.DRAIN), 0.0)


def removed(switch: Switch) -> None:
    for group in switch.virtual_servers.values():
        group.remove(group.real_servers[0])


_RESETTING: tuple[OnDown, ...] = ("reset", "reschedule")
for _what in _RESETTING:

    @row(f"down, {_what}: a RST from the packet's own ack number", prepare=on_down(_what))
    def _(net: Net) -> list[Step]:
        data = tcp(net.client, net.vip, "PA", b"anyone?", seq=1001, ack=0x89ABCDEF)
        late = tcp(net.rip, net.client, "A", b"from the grave", seq=5001, ack=1001)
        reset = net.reset(flags="R", seq=0x89ABCDEF)
        return [
            *handshake(net),
            known(late, net.back(late))._replace(first=out_of_service),
            # How much of what the client sent has arrived, only the real server knows: it is asked.
            Step(
                data,
                REPLY,
                Reason.REAL_SERVER_DOWN,
                reset + net.told(flags="A", seq=1000, ack=5001),
            ),
            Step(data, REPLY, Reason.REAL_SERVER_DOWN, reset),
            Step(late, REPLY, Reason.REAL_SERVER_DOWN, net.answered(seq=1001)),
            Step(data, REPLY, Reason.UNKNOWN_TCP, reset),
        ]


@row("down, keep: it goes on", prepare=on_down("keep"))
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "PA", b"anyone?", seq=1001, ack=5001)
    return [*handshake(net), known(data, net.there(data))._replace(first=out_of_service)]


@row("down, reschedule: a SYN that comes again goes to another", prepare=on_down("reschedule"))
def _(net: Net) -> list[Step]:
    moved = edited(net.syn(), destination=net.spare)
    return [
        handshake(net)[0],
        Step(net.syn(), FORWARD, Reason.RESCHEDULED, moved, first=out_of_service),
    ]


@row("down, reset: a SYN that comes again is refused", prepare=on_down("reset"))
def _(net: Net) -> list[Step]:
    reset = net.reset(flags="RA", seq=0, ack=1001)
    return [
        handshake(net)[0],
        Step(
            net.syn(),
            REPLY,
            Reason.REAL_SERVER_DOWN,
            reset + net.told(flags="R", seq=1001),
            first=out_of_service,
        ),
        Step(net.syn(), FORWARD, Reason.NEW_CONNECTION, edited(net.syn(), destination=net.spare)),
    ]


@row("down: a datagram goes to another", prepare=on_down("reset"))
def _(net: Net) -> list[Step]:
    data = udp(net.client, net.vip, b"a question, asked again")
    moved = edited(data, destination=net.spare)
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        Step(data, FORWARD, Reason.RESCHEDULED, moved, first=out_of_service),
        known(data, moved),
    ]


for _how, _act in {"drained": drained, "removed": removed}.items():

    @row(f"{_how}: live connections go on, new ones go elsewhere", prepare=on_down("reset"))
    def _(net: Net, change: Callable[[Switch], None] = _act) -> list[Step]:
        data = tcp(net.client, net.vip, "A", b"on and on", seq=1001, ack=5001)
        back = tcp(net.rip, net.client, "A", b"and on", seq=5001, ack=1010)
        new = [tcp((net.other[0], port), net.vip, "S") for port in (1, 2, 3)]
        return [
            *handshake(net),
            known(data, net.there(data))._replace(first=change),
            known(back, net.back(back)),
            *(
                Step(syn, FORWARD, Reason.NEW_CONNECTION, edited(syn, destination=net.spare))
                for syn in new
            ),
        ]


@row("a full table of what must stay takes no more", max_connections=1)
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "A", b"on and on", seq=1001, ack=5001)
    back = tcp(net.rip, net.client, "A", b"and on", seq=5001, ack=1010)
    return [
        *handshake(net),
        known(data, net.there(data)),
        known(back, net.back(back)),
        dropped(tcp(net.other, net.vip, "S"), Reason.TABLE_FULL),
        dropped(udp(net.other, net.vip), Reason.TABLE_FULL),
    ]


@row("a full table gives up what is half-open", max_connections=1)
def _(net: Net) -> list[Step]:
    other = tcp(net.other, net.vip, "S")
    return [
        handshake(net)[0],
        Step(other, FORWARD, Reason.NEW_CONNECTION, net.there(other)),
        Step(handshake(net)[2].data, REPLY, Reason.UNKNOWN_TCP),
    ]


# -- what other balancers got wrong ------------------------------------------------------------


def two_servers(switch: Switch, net: Net) -> None:
    on_down("reset")(switch, net)


def in_state(state: State) -> Callable[[Switch], None]:
    def look(switch: Switch) -> None:
        assert [each.state for each in switch.connections] == [state]

    return look


def one_packet(switch: Switch, net: Net) -> None:
    switch.virtual_servers["dns"].one_packet = True


@row("one packet: a client-side router's error finds the server it is about", prepare=one_packet)
def _(net: Net) -> list[Step]:
    question, answer = udp(net.client, net.vip, b"?"), udp(net.rip, net.client, b"!" * 1400)

    def error(receiver: Place, quoted: bytes) -> bytes:
        if net.six:
            head = IPv6(src=net.other[0], dst=receiver[0], hlim=60)
            return bytes(head / ICMPv6PacketTooBig(mtu=1280) / Raw(quoted[:200]))
        head = ip(net.other[0], receiver[0], ttl=60)
        return bytes(head / ICMP(type=3, code=4, nexthopmtu=1280) / Raw(quoted[:28]))

    return [
        Step(question, FORWARD, Reason.ONE_PACKET, net.there(question)),
        known(answer, net.back(answer)),
        Step(error(net.vip, net.back(answer)), FORWARD, Reason.ICMP_ERROR, error(net.rip, answer)),
    ]


@row("a SYN on a half-closed entry that its server takes begins a new connection there")
def _(net: Net) -> list[Step]:
    fin = tcp(net.client, net.vip, "FA", seq=1001, ack=5001)
    syn = tcp(net.client, net.vip, "S", seq=90000)
    syn_ack = tcp(net.rip, net.client, "SA", seq=70000, ack=90001)
    ack = tcp(net.client, net.vip, "A", seq=90001, ack=70001)
    data = tcp(net.client, net.vip, "PA", b"new", seq=90001, ack=70001)
    return [
        *handshake(net),
        known(fin, net.there(fin)),
        known(syn, net.there(syn)),
        known(syn_ack, net.back(syn_ack)),
        known(ack, net.there(ack))._replace(first=in_state(State.SYN_RECV)),
        known(data, net.there(data))._replace(first=in_state(State.ESTABLISHED)),
    ]


@row("a RST that refuses a SYN closes the entry; the next SYN is scheduled", prepare=two_servers)
def _(net: Net) -> list[Step]:
    syn = tcp(net.client, net.vip, "S", seq=90000)
    refusal = tcp(net.rip, net.client, "RA", seq=0, ack=90001)
    elsewhere = edited(syn, destination=net.spare)
    return [
        *handshake(net),
        known(syn, net.there(syn)),
        known(refusal, net.back(refusal)),
        Step(syn, FORWARD, Reason.PORT_REUSE, elsewhere, first=in_state(State.CLOSE)),
    ]


@row("a SYN that meets an old connection keeps its server, and so its port", prepare=two_servers)
def _(net: Net) -> list[Step]:
    syn = tcp(net.client, net.vip, "S", seq=90000)
    challenge = tcp(net.rip, net.client, "A", seq=333, ack=444)
    reset = tcp(net.client, net.vip, "R", seq=444)
    return [
        Step(syn, FORWARD, Reason.NEW_CONNECTION, net.there(syn)),
        known(challenge, net.back(challenge)),
        Step(reset, FORWARD, Reason.RST_OUT_OF_WINDOW, net.there(reset)),
        known(syn, net.there(syn)),
    ]


def two_vips(switch: Switch, net: Net) -> None:
    """Serve a second VIP by the same real servers, the second of which has the first turn."""
    two_servers(switch, net)
    vip = endpoint((net.elsewhere[0], net.vip[1]))
    for group in list(switch.virtual_servers.values()):
        servers = [RealServer(endpoint(each)) for each in (net.rip, net.spare)]
        switch.add_virtual_server(
            VirtualServer(group.name + "2", vip, group.protocol, make("rr"), servers)
        )


def opening(client: Place, vip: Place) -> bytes:
    return tcp(client, vip, "S")


for _build, _name in ((opening, "TCP"), (udp, "UDP")):

    @row(f"ports that are in use towards one server go to another; {_name}", prepare=two_vips)
    def _(net: Net, build: Callable[..., bytes] = _build) -> list[Step]:
        first = build(net.client, net.vip)
        second = build(net.client, (net.elsewhere[0], net.vip[1]))
        moved = edited(second, destination=net.spare)
        return [
            Step(first, FORWARD, Reason.NEW_CONNECTION, net.there(first)),
            Step(second, FORWARD, Reason.NEW_CONNECTION, moved),
        ]


def expired(switch: Switch) -> None:
    switch.handle_timers(2.99)
    assert len(switch.connections) == 0


_SHORT = dict.fromkeys(State, 0.1)


@row(
    "what a server sends after its connection has expired shows nobody its address; TCP",
    timeouts=_SHORT,
)
def _(net: Net) -> list[Step]:
    late = tcp(net.rip, net.client, "PA", b"too late", seq=5001, ack=1001)
    return [
        *handshake(net),
        dropped(late, Reason.ENDED_CONNECTION)._replace(first=expired),
        Step(tcp(net.rip, net.elsewhere, "A"), PASS, Reason.NOT_FOR_THE_SWITCH),
    ]


@row(
    "what a server sends after its connection has expired shows nobody its address; UDP",
    timeouts=_SHORT,
)
def _(net: Net) -> list[Step]:
    question, late = udp(net.client, net.vip, b"?"), udp(net.rip, net.client, b"too late")
    return [
        Step(question, FORWARD, Reason.NEW_CONNECTION, net.there(question)),
        dropped(late, Reason.ENDED_CONNECTION)._replace(first=expired),
        Step(udp(net.rip, net.elsewhere), PASS, Reason.NOT_FOR_THE_SWITCH),
    ]


def removed_now(switch: Switch) -> None:
    for group in switch.virtual_servers.values():
        first = group.real_servers[0]
        group.remove(first)
        group.end_lingering(first)


@row("removed now: its TCP client is told", prepare=two_servers)
def _(net: Net) -> list[Step]:
    data = tcp(net.client, net.vip, "PA", b"anyone?", seq=1001, ack=5001)
    told = net.reset(flags="R", seq=5001) + net.told(flags="A", seq=1000, ack=5001)
    return [
        *handshake(net),
        Step(data, REPLY, Reason.REAL_SERVER_DOWN, told, first=removed_now),
    ]


@row("removed now: its UDP client gets another server", prepare=two_servers)
def _(net: Net) -> list[Step]:
    data = udp(net.client, net.vip, b"again")
    return [
        Step(data, FORWARD, Reason.NEW_CONNECTION, net.there(data)),
        Step(
            data,
            FORWARD,
            Reason.RESCHEDULED,
            edited(data, destination=net.spare),
            first=removed_now,
        ),
    ]


# -- the test ----------------------------------------------------------------------------------

CASES = [
    pytest.param(each, net, id=f"{each.sentence}, IPv{version}")
    for each in ROWS
    for version, net in ((4, V4), (6, V6))
    if version in each.families
]


@pytest.mark.parametrize("how", ["", "told", "readable"])
@pytest.mark.parametrize(("each", "net"), CASES)
def test_row(each: Row, net: Net, how: str) -> None:
    kind = ReadableSwitch if how == "readable" else Switch
    switch = make_switch(net.vip, (net.rip,), settings=each.settings, kind=kind)
    if how == "told":
        switch.listen(ignore)
    each.prepare(switch, net)
    for number, step in enumerate(each.steps(net)):
        if step.first is not None:
            step.first(switch)
        seen = send(switch, step.data, float(number), step.partial)
        where = f"packet {number + 1}"
        assert (seen.action, seen.reason) == (step.action, step.reason), where
        left = seen.data if step.action is FORWARD else b"".join(seen.verdict.packets)
        if step.out is not None:
            assert differences(left, step.out) == [], where
        if step.action is FORWARD:
            assert soundness(left, step.partial) == soundness(step.data, step.partial), where
        elif step.action is not REPLY:
            assert left == b"", where
        check_invariants(switch)
    assert sum(switch.counters.values()) == len(each.steps(net))
