"""What comes from an address that nobody can have is neither answered nor scheduled."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Raw

from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.switch import Settings
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
from tests.support.packets import tcp, udp

NOBODYS = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.1.11",
    "ff02::1",
]


def vip_for(source: str) -> tuple[str, int]:
    return VIP6 if ":" in source else VIP


def head(source: str, destination: str, **fields: Any) -> Any:
    return (IPv6 if ":" in source else IP)(src=source, dst=destination, **fields)


def ping(source: str, vip: str) -> bytes:
    echo = ICMPv6EchoRequest(data=b"x") if ":" in source else ICMP() / Raw(b"x")
    return bytes(head(source, vip) / echo)


def first_fragment(source: str, vip: tuple[str, int], more: bytes = b"") -> tuple[bytes, bytes]:
    """Return the two fragments of a datagram to the VIP."""
    whole = udp((source, 9), vip, b"twenty-four bytes of it." + more)
    if ":" in source:
        parts = [
            head(source, vip[0]) / IPv6ExtHdrFragment(m=m, offset=at, id=5, nh=17) / Raw(piece)
            for m, at, piece in ((1, 0, whole[40:56]), (0, 2, whole[56:]))
        ]
    else:
        parts = [
            head(source, vip[0], flags=flag, frag=at, id=5, proto=17) / Raw(piece)
            for flag, at, piece in (("MF", 0, whole[20:36]), (0, 2, whole[36:]))
        ]
    return bytes(parts[0]), bytes(parts[1])


@pytest.mark.parametrize("unknown_tcp", ["reset", "schedule"])
@pytest.mark.parametrize("source", NOBODYS)
def test_nothing_of_nobody_is_answered_or_scheduled(source: str, unknown_tcp: Any) -> None:
    vip = vip_for(source)
    rips = RIPS6 if ":" in source else RIPS
    switch = make_switch(vip, rips, settings=Settings(unknown_tcp=unknown_tcp))
    for data in (
        tcp((source, 9), vip, "S"),
        tcp((source, 9), vip, "A"),
        tcp((source, 9), (vip[0], 81), "S"),
        udp((source, 9), vip, b"scheduled?"),
        udp((source, 9), (vip[0], 81), b"refused?"),
        ping(source, vip[0]),
        first_fragment(source, vip)[0],
    ):
        seen = send(switch, data)
        assert (seen.action, seen.reason) == (Action.DROP, Reason.FORGED_SOURCE)
    assert send(switch, first_fragment(source, vip)[1]).reason is Reason.FRAGMENT_OF_DROPPED
    assert len(switch.connections) == 0
    check_invariants(switch)


@pytest.mark.parametrize("source", NOBODYS)
def test_no_error_of_nobody_is_translated(source: str) -> None:
    """In either direction: to the client (from behind the switch) and to the real server."""
    six = ":" in source
    client, vip, rip = (CLIENT6, VIP6, RIPS6[0]) if six else (CLIENT, VIP, RIPS[0])
    switch = make_switch(vip, (rip,))
    there = send(switch, udp(client, vip, b"asked"))
    back = send(switch, udp(rip, client, b"answered"))
    assert there.action is back.action is Action.FORWARD
    for quoted, receiver in ((there.data, client[0]), (back.data, vip[0])):
        for honest in (False, True):
            router = ("2001:db8:7::1" if six else "10.0.7.1") if honest else source
            if six:
                errors = [ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1280)]
            else:
                errors = [ICMP(type=3, code=3), ICMP(type=3, code=4), ICMP(type=11)]
            for error in errors:
                seen = send(switch, bytes(head(router, receiver) / error / Raw(quoted)))
                expected = (
                    (Action.FORWARD, Reason.ICMP_ERROR)
                    if honest
                    else (Action.DROP, Reason.FORGED_SOURCE)
                )
                assert (seen.action, seen.reason) == expected


@pytest.mark.parametrize("source", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "240.0.0.1"])
def test_what_is_for_others_is_theirs_to_refuse(source: str) -> None:
    six = ":" in source
    switch = make_switch(VIP6 if six else VIP, RIPS6 if six else RIPS)
    elsewhere = ("2001:db8:9::9", 80) if six else ("10.0.9.9", 80)
    for data in (tcp((source, 9), elsewhere, "S"), ping(source, elsewhere[0])):
        assert send(switch, data).reason is Reason.NOT_FOR_THE_SWITCH


@pytest.mark.parametrize(
    ("own", "client", "vip", "rips"),
    [("10.0.1.1", CLIENT, VIP, RIPS), ("2001:db8:1::1", CLIENT6, VIP6, RIPS6)],
)
def test_an_address_of_the_machine_itself(
    own: str, client: tuple[str, int], vip: tuple[str, int], rips: tuple[tuple[str, int], ...]
) -> None:
    switch = make_switch(vip, rips)
    packets = (
        tcp((own, 9), vip, "S"),
        udp((own, 9), vip, b"hello"),
        udp((own, 9), (vip[0], 81), b"hello"),
        ping(own, vip[0]),
    )
    switch.note_host_addresses(frozenset({endpoint((own, 1)).ip.packed}))
    assert {send(switch, data).reason for data in packets} == {Reason.FORGED_SOURCE}
    assert len(switch.connections) == 0
    there = send(switch, udp(client, vip, b"asked"))
    # The machine's own error about it, which it sends when it cannot deliver, is honest.
    error = ICMPv6DestUnreach(code=3) if ":" in own else ICMP(type=3, code=1)
    seen = send(switch, bytes(head(own, client[0]) / error / Raw(there.data)))
    assert (seen.action, seen.reason) == (Action.FORWARD, Reason.ICMP_ERROR)
    switch.note_host_addresses(frozenset())
    assert Reason.FORGED_SOURCE not in {send(switch, data).reason for data in packets}
