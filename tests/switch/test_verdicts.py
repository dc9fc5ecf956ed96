"""What belongs to no connection: answered, passed or dropped, each with its reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.servers import AdminState
from lb_switch.engine.switch import Settings
from lb_switch.engine.verdict import Action, Reason
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    VIP,
    VIP6,
    Dialogue,
    make_switch,
    send,
    udp_dialogue,
)
from tests.support.packets import recomputed, tcp, udp


def test_a_syn_to_a_port_without_virtual_server_is_refused() -> None:
    seen = send(make_switch(), tcp(CLIENT, (VIP[0], 81), "S", seq=41))
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.NO_VIRTUAL_SERVER)
    answer = seen.answer
    assert (answer.src, answer[TCP].sport) == (VIP[0], 81)
    assert (answer.dst, answer[TCP].dport) == CLIENT
    assert answer[TCP].flags == "RA"
    assert answer[TCP].ack == 42, "the SYN counts as one"
    assert bytes(answer) == recomputed(bytes(answer))


def test_a_datagram_to_a_port_without_virtual_server_is_refused() -> None:
    data = udp(CLIENT, (VIP[0], 81), b"x" * 2000)
    seen = send(make_switch(), data)
    answer = seen.answer
    assert (answer[IP].src, answer[IP].dst) == (VIP[0], CLIENT[0])
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
    assert seen.verdict.packets[0][28:] == data[: 576 - 28], "as much as fits (RFC 1812)"
    assert seen.verdict.packets[0] == recomputed(seen.verdict.packets[0])


def test_the_same_for_ipv6() -> None:
    switch = make_switch(VIP6, ())
    reset = send(switch, tcp(CLIENT6, (VIP6[0], 81), "S", seq=1)).answer
    assert (reset.src, reset[TCP].flags) == (VIP6[0], "RA")
    assert bytes(reset) == recomputed(bytes(reset))
    seen = send(switch, udp(CLIENT6, (VIP6[0], 81), b"x" * 2000))
    assert seen.answer[ICMPv6DestUnreach].code == 4
    (error,) = seen.verdict.packets
    assert len(error) == 1280
    assert error == recomputed(error)


def test_no_real_server_left() -> None:
    switch = make_switch()
    for virtual_server in switch.virtual_servers.values():
        for server in virtual_server.real_servers:
            server.admin_state = AdminState.DRAIN
        virtual_server.refresh()
    seen = send(switch, tcp(CLIENT, VIP, "S"))
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.NO_REAL_SERVER)
    assert seen.answer[TCP].flags == "RA"
    seen = send(switch, udp(CLIENT, VIP))
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.NO_REAL_SERVER)
    assert seen.answer[ICMP].code == 3


def test_echo_to_the_vip() -> None:
    data = bytes(
        IP(src=CLIENT[0], dst=VIP[0], id=77) / ICMP(id=5, seq=9) / Raw(b"odd length payload!")
    )
    seen = send(make_switch(), data)
    assert (seen.action, seen.reason) == (Action.REPLY, Reason.ECHO_TO_VIP)
    answer = seen.answer
    assert (answer[IP].src, answer[IP].dst) == (VIP[0], CLIENT[0])
    assert (answer[ICMP].type, answer[ICMP].id, answer[ICMP].seq) == (0, 5, 9)
    assert bytes(answer[ICMP].payload) == b"odd length payload!"
    assert bytes(answer) == recomputed(bytes(answer))


def test_echo_to_the_vip_over_ipv6() -> None:
    data = bytes(IPv6(src=CLIENT6[0], dst=VIP6[0]) / ICMPv6EchoRequest(id=5, seq=9, data=b"abc"))
    answer = send(make_switch(VIP6, ()), data).answer
    assert (answer[ICMPv6EchoReply].id, answer[ICMPv6EchoReply].data) == (5, b"abc")
    assert bytes(answer) == recomputed(bytes(answer))


def test_what_is_not_for_the_switch_passes() -> None:
    switch = make_switch()
    for data in (
        tcp(CLIENT, ("10.0.2.11", 8080), "S"),
        tcp(RIPS[0], CLIENT, "A"),
        udp(RIPS[0], ("10.0.9.9", 53)),
        bytes(IP(src=CLIENT[0], dst="10.0.2.11") / ICMP()),
        bytes(IP(src=CLIENT[0], dst="10.0.2.11", proto=47) / Raw(b"GRE")),
    ):
        seen = send(switch, data)
        assert (seen.action, seen.reason) == (Action.PASS, Reason.NOT_FOR_THE_SWITCH)
    assert len(switch.connections) == 0


def test_another_protocol_to_the_vip() -> None:
    seen = send(make_switch(), bytes(IP(src=CLIENT[0], dst=VIP[0], proto=47) / Raw(b"GRE")))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.UNSUPPORTED_PROTOCOL)


def test_udp_there_and_back() -> None:
    switch = make_switch()
    there, back = udp_dialogue(switch, b"hello")
    assert (there.packet.dst, there.packet[UDP].dport) in RIPS
    assert (back.packet.src, back.packet[UDP].sport) == VIP
    assert bytes(back.packet[UDP].payload) == b"hello"
    assert bytes(back.packet) == recomputed(bytes(back.packet))
    assert len(switch.connections) == 1
    check_invariants(switch)


def test_a_clash_of_reply_keys_is_refused() -> None:
    """Two virtual servers share a real server; one client uses the same port towards both."""
    switch = make_switch(rips=RIPS[:1], protocols=(6,))
    other = make_switch(("10.0.1.101", 80), RIPS[:1], protocols=(6,)).virtual_servers["web"]
    other.name = "other"
    switch.add_virtual_server(other)
    first = Dialogue(switch)
    first.handshake()
    second = Dialogue(switch, vip=("10.0.1.101", 80))
    refused = second.client("S")
    assert (refused.action, refused.reason) == (Action.REPLY, Reason.KEY_CLASH)
    assert refused.answer[TCP].flags == "RA"
    data = first.server("A", b"still the first client's data")
    assert (data.packet.src, data.packet[TCP].sport) == VIP
    check_invariants(switch)
    first.client("A")
    first.server("R")
    assert second.client("S").reason is Reason.NEW_CONNECTION, "a closed one gives way"
    answer = second.server("SA")
    assert answer.packet.src == "10.0.1.101"
    check_invariants(switch)


def test_a_full_table_gives_up_half_open_connections_first() -> None:
    switch = make_switch(settings=Settings(max_connections=3), protocols=(6,))
    keep = Dialogue(switch)
    keep.handshake()
    for port in range(1, 50):
        seen = send(switch, tcp(("10.9.9.9", port), VIP, "S"))
        assert seen.reason is Reason.NEW_CONNECTION
        assert len(switch.connections) <= 3
        check_invariants(switch)
    assert keep.client("A", b"alive").reason is Reason.KNOWN_CONNECTION
    ports = {int.from_bytes(c.original_key[8:10], "big") for c in switch.connections}
    assert ports == {CLIENT[1], 48, 49}, "the oldest gave way"


def test_a_table_full_of_established_connections_takes_no_more() -> None:
    switch = make_switch(settings=Settings(max_connections=2), protocols=(6,))
    for port in (1, 2):
        talk = Dialogue(switch, client=("10.0.1.11", port))
        talk.handshake()
        talk.client("PA", b"both go on")
        talk.server("A")
    seen = send(switch, tcp(("10.0.1.11", 3), VIP, "S"))
    assert (seen.action, seen.reason) == (Action.DROP, Reason.TABLE_FULL)
    assert len(switch.connections) == 2


def test_every_packet_is_counted_once_and_told_once() -> None:
    switch = make_switch()
    events: list[PacketEvent] = []

    def observe(event: Event) -> None:
        assert isinstance(event, PacketEvent)
        events.append(event)

    packets = [
        tcp(CLIENT, VIP, "S"),
        tcp(CLIENT, VIP, "S"),
        udp(CLIENT, VIP),
        tcp(CLIENT, (VIP[0], 1), "S"),
        b"\x00garbage",
    ]
    for data in packets:
        send(switch, data)
    assert sum(switch.counters.values()) == len(packets)
    switch.listen(observe)
    for data in packets:
        send(switch, data, now=3.5)
    assert sum(switch.counters.values()) == 2 * len(packets)
    assert [event.verdict.reason for event in events] == [
        Reason.KNOWN_CONNECTION,
        Reason.KNOWN_CONNECTION,
        Reason.KNOWN_CONNECTION,
        Reason.NO_VIRTUAL_SERVER,
        Reason.BAD_HEADER,
    ]
    assert {event.time for event in events} == {3.5}
    assert [vs and vs.name for vs in (event.virtual_server for event in events)] == [
        "web",
        "web",
        "dns",
        None,
        None,
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    tcp(CLIENT, VIP, "S"),
                    tcp(RIPS[0], CLIENT, "SA"),
                    tcp(CLIENT, VIP, "A"),
                    tcp(CLIENT, VIP, "FA", b"x"),
                    udp(CLIENT, VIP, b"abc"),
                    tcp(CLIENT6, VIP6, "S"),
                    bytes(IP(src=CLIENT[0], dst=VIP[0]) / ICMP()),
                    b"",
                ]
            ),
            st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
            st.binary(max_size=8),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_garbage_never_stops_the_switch(
    packets: list[tuple[bytes, list[tuple[int, int]], bytes, bool]],
) -> None:
    switch = make_switch(settings=Settings(max_connections=4))
    for number, (data, changes, tail, partial) in enumerate(packets):
        bent = bytearray(data + tail)
        for at, value in changes:
            if bent:
                bent[at % len(bent)] = value
        send(switch, bytes(bent), now=float(number * 20), partial=partial)
        switch.handle_timers(number * 20.0)
        check_invariants(switch)
    counters = switch.counters
    decided_later = counters[Reason.FRAGMENT_HELD] - switch.fragments.held
    assert sum(counters.values()) == len(packets) + decided_later
