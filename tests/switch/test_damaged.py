"""A damaged packet is forwarded as it is, and never answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Raw

from lb_switch.engine.changes import SetHealth
from lb_switch.engine.nat.answer_limit import AnswersPerSecond
from lb_switch.engine.switch import Settings, Switch
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    make_switch,
    send,
)
from tests.support.packets import corrupted, recomputed, tcp, udp

Place = tuple[str, int]
V4, V6 = (CLIENT, VIP, RIPS), (CLIENT6, VIP6, RIPS6)
both_families = pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
Ends = tuple[Place, Place, tuple[Place, ...]]


def refused(client: Place, vip: Place) -> dict[str, bytes]:
    """Return what the switch answers itself, by name."""
    closed = (vip[0], 81)
    six = ":" in vip[0]
    echo = ICMPv6EchoRequest(data=b"some data") if six else ICMP() / Raw(b"some data")
    return {
        "a SYN to a port that is closed": tcp(client, closed, "S"),
        "data of no connection": tcp(client, vip, "PA", b"some data", seq=1, ack=2),
        "a FIN of no connection": tcp(client, vip, "FA", seq=1, ack=2),
        "a datagram": udp(client, closed, b"some data"),
        "an empty datagram": udp(client, closed),
        "a ping": bytes((IPv6 if six else IP)(src=client[0], dst=vip[0]) / echo),
    }


@both_families
@pytest.mark.parametrize("name", refused(CLIENT, VIP))
def test_no_answer_to_a_damaged_packet(ends: Ends, name: str) -> None:
    client, vip, rips = ends
    data = refused(client, vip)[name]
    one = Settings(answers_per_second=AnswersPerSecond(1, 1, 1))
    switch = make_switch(vip, rips, settings=one)
    for at in (len(data) - 1, len(data) - 2):
        for _ in range(100):
            seen = send(switch, corrupted(data, at))
            assert (seen.action, seen.reason) == (Action.DROP, Reason.BAD_CHECKSUM)
    assert switch.counters[Reason.BAD_CHECKSUM] == 200
    assert send(switch, data).action is Action.REPLY, "damaged ones have cost no token"


@pytest.mark.parametrize("name", refused(CLIENT, VIP))
def test_nor_to_one_whose_ip_header_is_damaged(name: str) -> None:
    data = refused(CLIENT, VIP)[name]
    # The TTL: no other checksum covers it.
    seen = send(make_switch(), corrupted(data, 8))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.BAD_CHECKSUM)
    assert send(make_switch(), corrupted(data, 8), partial=True).reason is Reason.BAD_CHECKSUM


@both_families
@pytest.mark.parametrize("name", [each for each in refused(CLIENT, VIP) if "ping" not in each])
def test_a_partial_checksum_is_no_damage(ends: Ends, name: str) -> None:
    client, vip, rips = ends
    data = bytearray(refused(client, vip)[name])
    at = (40 if ":" in vip[0] else 20) + (6 if "datagram" in name else 16)
    data[at : at + 2] = b"\x12\x34"
    switch = make_switch(vip, rips)
    assert send(switch, bytes(data), partial=True).action is Action.REPLY
    assert send(switch, bytes(data)).reason is Reason.BAD_CHECKSUM


def test_a_datagram_without_a_checksum_is_refused_over_ipv4_alone() -> None:
    data = udp(CLIENT, (VIP[0], 81), b"data", chksum=0)
    assert send(make_switch(), data).action is Action.REPLY
    seen = send(make_switch(VIP6, RIPS6), udp(CLIENT6, (VIP6[0], 81), b"data", chksum=0))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.UDP_ZERO_CHECKSUM)


def test_extension_headers_are_not_of_the_checksum() -> None:
    data = bytes(
        IPv6(src=CLIENT6[0], dst=VIP6[0])
        / IPv6ExtHdrDestOpt()
        / IPv6(udp(CLIENT6, (VIP6[0], 81), b"data")).payload
    )
    switch = make_switch(VIP6, RIPS6)
    assert send(switch, data).action is Action.REPLY
    assert send(switch, corrupted(data, len(data) - 1)).reason is Reason.BAD_CHECKSUM


def break_off(switch: Switch) -> None:
    for group in switch.virtual_servers.values():
        for server in group.real_servers:
            switch.change(SetHealth(server, False, "test"), 0.0)


@both_families
@pytest.mark.parametrize("flags", ["A", "FA", "RA", "S"])
def test_it_does_not_end_a_connection_whose_real_server_is_down(ends: Ends, flags: str) -> None:
    client, vip, rips = ends
    switch = make_switch(vip, rips)
    talk = Dialogue(switch, client, vip)
    talk.handshake()
    break_off(switch)
    data = tcp(client, vip, flags, b"data", seq=1001, ack=5001)
    seen = send(switch, corrupted(data, len(data) - 1))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.BAD_CHECKSUM)
    assert len(switch.connections) == 1
    sound = talk.client("A", b"data")
    assert (sound.action, sound.reason) == (Action.REPLY, Reason.REAL_SERVER_DOWN)


@both_families
def test_a_damaged_datagram_moves_no_client_to_another_server(ends: Ends) -> None:
    client, vip, rips = ends
    switch = make_switch(vip, rips)
    data = udp(client, vip, b"data")
    send(switch, data)
    (connection,) = switch.connections
    switch.change(SetHealth(connection.real_server, False, "test"), 0.0)
    assert send(switch, corrupted(data, len(data) - 1)).reason is Reason.BAD_CHECKSUM
    assert list(switch.connections) == [connection]
    assert send(switch, data).reason is Reason.RESCHEDULED


Make = Callable[[Place, Place], bytes]


@both_families
@pytest.mark.parametrize(
    "make",
    [lambda client, vip: tcp(client, vip, "S"), lambda client, vip: udp(client, vip, b"data")],
    ids=["tcp", "udp"],
)
def test_what_is_forwarded_stays_damaged_for_the_server_to_see(ends: Ends, make: Make) -> None:
    """It opens a connection that gives way first: nobody will ever answer it."""
    client, vip, rips = ends
    data = make(client, vip)
    seen = send(make_switch(vip, rips), corrupted(data, len(data) - 1))
    assert seen.reason is Reason.NEW_CONNECTION
    assert recomputed(seen.data) != seen.data
