"""ICMP errors: whoever gets one finds in it the packet that it sent itself.

A router (or the host itself) quotes a packet as it left the switch; its sender must read there what
it had sent.  So the expected quote is not computed at all: it is the beginning of the packet that
went in.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.packet.protocol import TCP as TCP_NUMBER
from lb_switch.engine.packet.protocol import UDP as UDP_NUMBER
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import Forward, RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import Seen, endpoint, send
from tests.support.fragments import fragments
from tests.support.packets import corrupted, dissect, recomputed, tcp, udp
from tests.support.soundness import layout, repaired, soundness

Place = tuple[str, int]


@dataclass(frozen=True)
class Net:
    """One family's addresses, and a switch between them that translates by plain or full NAT."""

    client: Place
    vip: Place
    rip: Place
    snat: str
    client_router: str
    server_router: str
    forward: Forward

    @property
    def six(self) -> bool:
        return ":" in self.client[0]

    def switch(self) -> Switch:
        switch = Switch()
        for name, protocol in (("web", TCP_NUMBER), ("dns", UDP_NUMBER)):
            switch.add_virtual_server(
                VirtualServer(
                    name,
                    endpoint(self.vip),
                    protocol,
                    make("rr"),
                    [RealServer(endpoint(self.rip))],
                    forward=self.forward,
                    snat=endpoint((self.snat, 1)).ip if self.forward == "full_nat" else None,
                )
            )
        return switch

    def error(self, kind: int, code: int, rest: int, quote: bytes, source: str, to: str) -> bytes:
        """Build the error: our naive checksums, confirmed by scapy's."""
        message = struct.pack("!BBHI", kind, code, 0, rest) + quote
        if self.six:
            packet = bytes(IPv6(src=source, dst=to, nh=58, hlim=60) / Raw(message))
        else:
            packet = bytes(IP(src=source, dst=to, proto=1, ttl=60, id=3, flags="DF") / Raw(message))
        packet = repaired(packet)
        assert soundness(packet).l4
        return packet

    def kinds(self) -> list[tuple[int, int, int]]:
        """Return (type, code, rest of header) of the errors there are."""
        if self.six:
            return [(1, code, 0) for code in range(7)] + [
                (2, 0, 1280),
                (3, 0, 0),
                (3, 1, 0),
                (4, 0, 6),
            ]
        return [(3, code, 0) for code in (0, 1, 2, 3, 5, 13)] + [
            (3, 4, 1280),
            (11, 0, 0),
            (11, 1, 0),
            (12, 0, 9 << 24),
        ]


def net(version: int, forward: Forward) -> Net:
    if version == 4:
        return Net(
            ("10.0.1.11", 40000),
            ("10.0.1.100", 80),
            ("10.0.2.11", 8080),
            "10.0.2.200",
            "10.0.1.1",
            "10.0.2.1",
            forward,
        )
    return Net(
        ("2001:db8:1::11", 40000),
        ("2001:db8:1::100", 80),
        ("2001:db8:2::11", 8080),
        "2001:db8:2::200",
        "2001:db8:1::1",
        "2001:db8:2::1",
        forward,
    )


NETS = [net(version, forward) for version in (4, 6) for forward in ("nat", "full_nat")]
nets = pytest.mark.parametrize("net", NETS, ids=["IPv4", "IPv4-full", "IPv6", "IPv6-full"])
protocols = pytest.mark.parametrize("protocol", ["tcp", "udp"])


class Conversation:
    """A request that went out and a reply that came back, each as sent and as translated."""

    def __init__(
        self, net: Net, protocol: str, payload: bytes = b"a payload of odd length"
    ) -> None:
        self.net = net
        self.switch = net.switch()
        self.now = 0.0
        self.request = self.build(net.client, net.vip, protocol, payload, "S")
        self.request_out = self.send(self.request)
        source = dissect(self.request_out)
        # Where the real server's answer goes: to the client, or to the full NAT's source address.
        l4 = source[TCP] if protocol == "tcp" else source[UDP]
        self.near = (source.src, l4.sport)
        self.reply = self.build(net.rip, self.near, protocol, payload[::-1], "SA")
        self.reply_out = self.send(self.reply)
        assert dissect(self.reply_out).src == net.vip[0]
        (self.connection,) = self.switch.connections

    def build(
        self, source: Place, destination: Place, protocol: str, payload: bytes, flags: str
    ) -> bytes:
        if protocol == "tcp":
            return tcp(source, destination, flags, payload, seq=7, ack=8)
        return udp(source, destination, payload)

    def send(self, data: bytes) -> bytes:
        seen = send(self.switch, data, self.now)
        assert seen.action is Action.FORWARD, seen
        return seen.data

    def about_request(
        self, quote: int, kind: tuple[int, int, int], source: str | None = None
    ) -> Seen:
        """Let a router on the servers' side send an error about the request."""
        where = source or self.net.server_router
        return send(
            self.switch,
            self.net.error(*kind, self.request_out[:quote], where, self.near[0]),
            self.now,
        )

    def about_reply(
        self, quote: int, kind: tuple[int, int, int], source: str | None = None
    ) -> Seen:
        """Let a router on the clients' side send an error about the reply."""
        where = source or self.net.client_router
        return send(
            self.switch,
            self.net.error(*kind, self.reply_out[:quote], where, self.net.vip[0]),
            self.now,
        )


@nets
@protocols
@pytest.mark.parametrize("l4_bytes", [8, 9, 12, 16, 18, 19, 20, 43])
def test_the_sender_finds_its_own_packet(net: Net, protocol: str, l4_bytes: int) -> None:
    talk = Conversation(net, protocol)
    quote = (40 if net.six else 20) + l4_bytes
    for kind in net.kinds():
        seen = talk.about_request(quote, kind)
        assert (seen.action, seen.reason) == (Action.FORWARD, Reason.ICMP_ERROR)
        expected = net.error(*kind, talk.request[:quote], net.vip[0], net.client[0])
        assert seen.data.hex() == expected.hex()
        assert seen.data == recomputed(seen.data), "scapy computes the same checksums"

        seen = talk.about_reply(quote, kind)
        assert (seen.action, seen.reason) == (Action.FORWARD, Reason.ICMP_ERROR)
        source = net.snat if net.forward == "full_nat" else net.client_router
        expected = net.error(*kind, talk.reply[:quote], source, net.rip[0])
        assert seen.data.hex() == expected.hex()
        assert seen.data == recomputed(seen.data)
    check_invariants(talk.switch)


@nets
def test_half_a_quoted_checksum_is_left_alone(net: Net) -> None:
    """Its other half is not there to be mended with it."""
    talk = Conversation(net, "tcp")
    quote = (40 if net.six else 20) + 17
    seen = talk.about_request(quote, net.kinds()[0])
    assert soundness(seen.data) == (None if net.six else True, True)
    assert seen.data[-quote:-1] == talk.request[: quote - 1]
    assert seen.data[-1] == talk.request_out[quote - 1]


@nets
@protocols
def test_the_hosts_themselves_complain_too(net: Net, protocol: str) -> None:
    """A real server's port unreachable reaches the client from the VIP, and the other way round."""
    talk = Conversation(net, protocol)
    kind = (1, 4, 0) if net.six else (3, 3, 0)
    seen = talk.about_request(1000, kind, source=net.rip[0])
    assert seen.data == net.error(*kind, talk.request, net.vip[0], net.client[0])
    seen = talk.about_reply(1000, kind, source=net.client[0])
    source = net.snat if net.forward == "full_nat" else net.client[0]
    assert seen.data == net.error(*kind, talk.reply, source, net.rip[0])


@nets
@protocols
def test_an_error_changes_nothing_else(net: Net, protocol: str) -> None:
    """It opens no connection, refreshes no timer, is not counted as the connection's traffic."""
    talk = Conversation(net, protocol)
    connection = talk.connection
    before = {name: getattr(connection, name) for name in connection.__slots__}
    talk.now = 30.0
    for kind in net.kinds():
        assert talk.about_request(1000, kind).reason is Reason.ICMP_ERROR
        assert talk.about_reply(1000, kind).reason is Reason.ICMP_ERROR
    assert {name: getattr(connection, name) for name in connection.__slots__} == before
    assert len(talk.switch.connections) == 1
    deadline = talk.switch.settings.timeouts[connection.state] + 0.5
    while (due := talk.switch.next_deadline()) is not None and due <= deadline:
        talk.switch.handle_timers(due)
    assert len(talk.switch.connections) == 0


@nets
@protocols
@pytest.mark.parametrize("l4_bytes", range(8))
def test_fewer_than_eight_bytes_tell_nothing(net: Net, protocol: str, l4_bytes: int) -> None:
    talk = Conversation(net, protocol)
    quote = (40 if net.six else 20) + l4_bytes
    kind = net.kinds()[0]
    assert talk.about_request(quote, kind).reason is Reason.UNKNOWN_ICMP_ERROR
    assert talk.about_reply(quote, kind).reason is Reason.UNKNOWN_ICMP_ERROR


@nets
@protocols
@pytest.mark.parametrize("cut", [8, 100])
def test_quoted_options_and_extension_headers(net: Net, protocol: str, cut: int) -> None:
    talk = Conversation(net, protocol)
    head: Any
    if net.six:
        head = IPv6(src=net.client[0], dst=net.vip[0]) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
    else:
        head = IP(src=net.client[0], dst=net.vip[0], flags="DF", options=[IPOption_NOP()] * 8)
    ports = {"sport": net.client[1], "dport": net.vip[1]}
    l4 = TCP(**ports, flags="A", seq=8, ack=8) if protocol == "tcp" else UDP(**ports)
    request = bytes(head / l4 / Raw(b"with options"))
    translated = talk.send(request)
    quote = layout(translated).l4 + cut
    kind = net.kinds()[0]
    error = net.error(*kind, translated[:quote], net.server_router, talk.near[0])
    seen = send(talk.switch, error)
    assert seen.data == net.error(*kind, request[:quote], net.vip[0], net.client[0])


@nets
@protocols
def test_the_outer_packet_may_have_options_too(net: Net, protocol: str) -> None:
    talk = Conversation(net, protocol)
    kind = net.kinds()[0]
    message = net.error(*kind, talk.request_out[:60], net.server_router, talk.near[0])
    body = message[40 if net.six else 20 :]
    head: Any
    if net.six:
        head = IPv6(src=net.server_router, dst=talk.near[0]) / IPv6ExtHdrHopByHop(nh=58)
    else:
        head = IP(
            src=net.server_router,
            dst=talk.near[0],
            proto=1,
            flags="DF",
            options=[IPOption_NOP()] * 12,
        )
    seen = send(talk.switch, repaired(bytes(head / Raw(body))))
    assert seen.reason is Reason.ICMP_ERROR
    assert soundness(seen.data) == (None if net.six else True, True)
    at = layout(seen.data).l4
    assert seen.data[at + 8 :] == talk.request[:60]


@nets
@protocols
def test_damage_stays(net: Net, protocol: str) -> None:
    """Of the error itself, and of the quoted packet's checksums."""
    talk = Conversation(net, protocol)
    kind = net.kinds()[0]
    error = net.error(*kind, talk.request_out, net.server_router, talk.near[0])
    seen = send(talk.switch, corrupted(error, len(error) - 3))
    assert soundness(seen.data).l4 is False
    expected = net.error(*kind, talk.request, net.vip[0], net.client[0])
    assert seen.data == corrupted(expected, len(error) - 3)


@nets
def test_a_quoted_datagram_without_checksum_has_none_afterwards(net: Net) -> None:
    if net.six:
        return  # such a datagram is never forwarded
    talk = Conversation(net, "udp")
    request = udp(net.client, net.vip, b"no checksum", chksum=0)
    translated = talk.send(request)
    kind = (3, 1, 0)
    error = net.error(*kind, translated, net.server_router, talk.near[0])
    assert send(talk.switch, error).data == net.error(*kind, request, net.vip[0], net.client[0])


@nets
@protocols
def test_errors_of_no_connection(net: Net, protocol: str) -> None:
    """Passed where they may be somebody else's; dropped where only the VIP could have sent it."""
    talk = Conversation(net, protocol)
    stranger = (net.server_router, 99)
    quote = talk.build(net.client, stranger, protocol, b"elsewhere", "S")
    for kind in net.kinds():
        error = net.error(*kind, quote, net.server_router, net.client[0])
        seen = send(talk.switch, error)
        assert (seen.action, seen.reason) == (Action.PASS, Reason.UNKNOWN_ICMP_ERROR)
    quote = talk.build(net.vip, stranger, protocol, b"never sent", "S")
    error = net.error(*net.kinds()[0], quote, net.server_router, net.vip[0])
    seen = send(talk.switch, error)
    assert (seen.action, seen.reason) == (Action.DROP, Reason.UNKNOWN_ICMP_ERROR)
    assert len(talk.switch.connections) == 1


@nets
@protocols
def test_an_error_that_its_quotes_sender_does_not_get_is_forged(net: Net, protocol: str) -> None:
    talk = Conversation(net, protocol)
    kind = net.kinds()[0]
    bystander = "2001:db8:7::7" if net.six else "10.0.7.7"
    error = net.error(*kind, talk.request_out, net.server_router, bystander)
    assert send(talk.switch, error).verdict == (Action.PASS, Reason.UNKNOWN_ICMP_ERROR, ())
    error = net.error(*kind, talk.reply_out, net.client_router, bystander)
    assert send(talk.switch, error).verdict == (Action.PASS, Reason.UNKNOWN_ICMP_ERROR, ())


@nets
@protocols
def test_a_quoted_first_fragment_is_enough_a_later_one_is_not(net: Net, protocol: str) -> None:
    talk = Conversation(net, protocol)
    whole = talk.build(net.client, net.vip, protocol, bytes(200), "A")
    first, second = (talk.send(part) for part in fragments(whole, [8]))
    # What is quoted keeps the identification of the switch: no receiver looks at it.
    original, _ = fragments(whole, [8], identification=int(_fragment_of(first).id))
    kind = (3, 1, 0) if net.six else (11, 1, 0)
    error = net.error(*kind, first, net.server_router, talk.near[0])
    assert send(talk.switch, error).data == net.error(*kind, original, net.vip[0], net.client[0])
    error = net.error(*kind, second, net.server_router, talk.near[0])
    assert send(talk.switch, error).reason is Reason.UNKNOWN_ICMP_ERROR


def _fragment_of(data: bytes) -> Packet:
    packet = dissect(data)
    return packet if data[0] >> 4 == 4 else packet[IPv6ExtHdrFragment]


@nets
def test_an_error_about_an_error_or_an_echo_is_not_ours(net: Net) -> None:
    talk = Conversation(net, "udp")
    kind = net.kinds()[0]
    inner = net.error(*kind, talk.request_out, net.server_router, net.client[0])
    error = net.error(*kind, inner, net.client_router, net.server_router)
    assert send(talk.switch, error).verdict == (Action.PASS, Reason.UNKNOWN_ICMP_ERROR, ())


@nets
@pytest.mark.parametrize(
    ("sentence", "at", "value"),
    [
        ("a quoted version that is none", 0, 0x55),
        ("a quoted IHL below five", 0, 0x44),
        ("a quoted IHL beyond the packet", 0, 0x4F),
    ],
)
def test_quotes_that_lie(net: Net, sentence: str, at: int, value: int) -> None:
    talk = Conversation(net, "udp", b"")
    quote = bytearray(talk.request_out)
    quote[at] = value
    error = net.error(*net.kinds()[0], bytes(quote), net.server_router, talk.near[0])
    assert send(talk.switch, error).reason is Reason.UNKNOWN_ICMP_ERROR, sentence


def test_a_quoted_chain_of_extension_headers_is_not_followed_for_ever() -> None:
    net = NETS[2]
    talk = Conversation(net, "udp")
    chain = b"\x3c\x00" + bytes(6)
    quote = talk.request_out[:6] + b"\x3c" + talk.request_out[7:40] + chain * 150
    error = net.error(1, 0, 0, quote, net.server_router, net.client[0])
    assert send(talk.switch, error).reason is Reason.UNKNOWN_ICMP_ERROR


@nets
@protocols
def test_the_errors_the_switch_makes_are_not_about_it(net: Net, protocol: str) -> None:
    """A real server sends an error about the VIP's own refusal: nobody asked, nobody is told."""
    talk = Conversation(net, protocol)
    closed = (net.vip[0], 81)
    refused = send(talk.switch, talk.build(net.client, closed, protocol, b"", "S"))
    (refusal,) = refused.verdict.packets
    error = net.error(*net.kinds()[0], refusal, net.client_router, net.vip[0])
    seen = send(talk.switch, error)
    assert (seen.action, seen.reason) == (Action.DROP, Reason.UNKNOWN_ICMP_ERROR)


@pytest.mark.parametrize(
    ("version", "protocol", "number"),
    list(itertools.product((4, 6), ("tcp", "udp"), range(16))),
)
def test_with_any_payload(version: int, protocol: str, number: int) -> None:
    """The quoted checksum takes other values; zero and 0xFFFF among them in the long run."""
    talk = Conversation(net(version, "nat"), protocol, bytes([number * 17]) * (number + 1))
    seen = talk.about_request(2000, talk.net.kinds()[0])
    expected = talk.net.error(
        *talk.net.kinds()[0], talk.request, talk.net.vip[0], talk.net.client[0]
    )
    assert seen.data == expected


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("removed", [False, True], ids=["there", "removed"])
def test_with_one_packet_whoever_answered_last_learns_of_it(six: bool, removed: bool) -> None:
    """Only answers are looked up there; the error quotes one of them."""
    base = "2001:db8:{}::" if six else "10.0.{}."
    client, vip = (f"{base.format(1)}11", 40000), (f"{base.format(1)}100", 53)
    rips = [(f"{base.format(2)}{n}", 5353) for n in (1, 2, 3)]
    switch = Switch()
    group = VirtualServer(
        "dns",
        endpoint(vip),
        UDP_NUMBER,
        make("rr"),
        [RealServer(endpoint(rip)) for rip in rips],
        one_packet=True,
    )
    switch.add_virtual_server(group)
    net = NETS[2] if six else NETS[0]
    too_big = (2, 0, 1280) if six else (3, 4, 1280)
    for _ in rips:
        send(switch, udp(client, vip, b"question"))
    early = net.error(*too_big, udp(vip, client, bytes(400)), net.client_router, vip[0])
    assert send(switch, early).reason is Reason.UNKNOWN_ICMP_ERROR, "nobody has answered"
    for now, number in enumerate((0, 2, 1, 0, 2)):
        answer = udp(rips[number], client, bytes(400))
        left = send(switch, answer, float(now)).data
        error = net.error(*too_big, left[:200], net.client_router, vip[0])
        if removed and number == 2 and group.find(endpoint(rips[2])) is not None:
            group.remove(group.real_servers[2])
        seen = send(switch, error, float(now))
        assert seen.reason is Reason.ICMP_ERROR
        assert seen.packet.dst == rips[number][0]
        quoted = 48 if six else 28
        assert seen.data[quoted : quoted + 200] == answer[:200]
        assert soundness(seen.data).l4
    other = net.error(*too_big, udp(vip, (client[0], 7), b"x" * 99), net.client_router, vip[0])
    assert send(switch, other).reason is Reason.UNKNOWN_ICMP_ERROR
    check_invariants(switch)
