"""Both sides in one pcapng file, read by tshark."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6

from lb_switch.engine.changes import AddRealServer
from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.packet.checksum import ones_complement_sum
from lb_switch.engine.servers import RealServer
from lb_switch.export.both_sides import BothSides
from lb_switch.export.comment import one_line
from lb_switch.export.pcapng_file import RecordedFile
from lb_switch.files.pcap import open_capture
from lb_switch.files.record import CaptureFileError
from lb_switch.stream import encode
from lb_switch.stream.encode import MOST_SENT
from lb_switch.stream.schema import PacketRecord, decode
from tests.explain.told import Teller
from tests.support import tshark
from tests.support.both_sides import BothSidesFile
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    endpoint,
    make_switch,
    send,
)
from tests.support.packets import dissect, recomputed, tcp, udp

Open = Callable[..., BothSidesFile]


@pytest.fixture
def both(tmp_path: Path) -> Open:
    return lambda switch, **options: BothSidesFile(tmp_path / "both.pcapng", switch, **options)


def converse(talk: Dialogue) -> None:
    """A whole connection, with data, from SYN to last ACK."""
    talk.handshake()
    talk.now += 0.000_000_5
    talk.client("PA", b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
    talk.server("PA", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    talk.client("A")
    talk.client("FA")
    talk.server("FA")
    talk.client("A")


def test_one_packet_id_shows_both_copies_interfaces_directions_and_story(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    converse(Dialogue(switch))
    story = "10.0.1.11:40000 to web 10.0.1.100:80 → 10.0.2.11:8080"
    assert file.rows(
        "frame.interface_name",
        "frame.packet_flags_direction",
        "ip.dst",
        "tcp.dstport",
        "frame.comment",
        only="frame.packet_id == 1",
    ) == [
        (
            interface,
            direction,
            address,
            port,
            f"forward new_connection: {story} (first in rotation (1 of 3 usable)); SYN_RECV (60 s)",
        )
        for interface, direction, address, port in (
            ("client-side", "0x00000001", "10.0.1.100", "80"),
            ("server-side", "0x00000002", "10.0.2.11", "8080"),
        )
    ]
    reply = "forward known_connection: 10.0.2.11:8080 → web 10.0.1.100:80 to 10.0.1.11:40000"
    assert file.rows(
        "frame.interface_name",
        "frame.packet_flags_direction",
        "ip.src",
        "frame.comment",
        only="frame.packet_id == 2",
    ) == [
        ("server-side", "0x00000001", "10.0.2.11", f"{reply}; SYN_RECV (60 s)"),
        ("client-side", "0x00000002", "10.0.1.100", f"{reply}; SYN_RECV (60 s)"),
    ]
    ids = [int(number) for (number,) in file.rows("frame.packet_id")]
    assert ids == [number for number in range(1, 10) for _ in range(2)]


def test_a_sound_conversation_has_no_expert_complaint(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    for port in range(40000, 40006):
        converse(Dialogue(switch, client=(CLIENT[0], port)))
    file.close()
    tshark.need_tshark()
    found = tshark.expert(file.path)
    assert set(found) == {"Chats", "Notes"}
    assert set(found["Notes"]) == {
        "This frame initiates the connection closing",
        "This frame undergoes the connection closing",
    }
    streams = {stream for (stream,) in file.rows("tcp.stream")}
    assert len(streams) == 12, "each connection is one stream on each side"


def test_time_has_nanoseconds(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    talk = Dialogue(switch)
    talk.now = 12.000_000_345
    talk.client("S")
    assert file.rows("frame.time_epoch") == [("1700000012.000000345",)] * 2


def test_names_of_vip_real_servers_and_clients(both: Open) -> None:
    switch = make_switch()
    file = both(switch, hosts={"10.0.2.12": "s2", "10.0.1.12": "c2"})
    Dialogue(switch).client("S")
    Dialogue(switch, client=("10.0.1.12", 1)).client("S")
    Dialogue(switch, client=("10.0.1.13", 1)).client("S")
    assert file.rows("ip.src_host", "ip.dst_host") == [
        ("client1", "web+dns"),
        ("client1", "web-rs1"),
        ("c2", "web+dns"),
        ("c2", "s2"),
        ("client3", "web+dns"),
        ("client3", "web-rs3"),
    ]


def test_ipv6(both: Open) -> None:
    switch = make_switch(VIP6, RIPS6)
    file = both(switch)
    talk = Dialogue(switch, CLIENT6, VIP6)
    converse(talk)
    shown = file.rows("frame.interface_name", "ipv6.src_host", "ipv6.dst_host")
    assert shown[:4] == [
        ("client-side", "client1", "web+dns"),
        ("server-side", "client1", "web-rs1"),
        ("server-side", "web-rs1", "client1"),
        ("client-side", "web+dns", "client1"),
    ]
    assert set(tshark.expert(file.path)) == {"Chats", "Notes"}


# -- what is not simply forwarded --------------------------------------------------------------


def seen(file: BothSidesFile) -> list[tuple[str, ...]]:
    return file.rows("frame.packet_id", "frame.interface_name", "frame.packet_flags_direction")


IN, OUT = "0x00000001", "0x00000002"


def test_an_answer_leaves_where_the_packet_came_from(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    send(switch, tcp(CLIENT, (VIP[0], 81), "S"))
    assert seen(file) == [("1", "client-side", IN), ("1", "client-side", OUT)]
    assert file.rows("ip.src", "tcp.flags.reset", "frame.comment")[1] == (
        VIP[0],
        "1",
        "reply no_virtual_server [made by the switch]",
    )


def test_what_is_dropped_or_passed_has_one_copy(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    send(switch, tcp(CLIENT, ("10.0.9.9", 80), "S"))
    send(switch, tcp(("10.0.2.12", 555), ("192.0.2.1", 80), "S"))
    send(switch, bytes(IP(src=CLIENT[0], dst=VIP[0], proto=47) / b"12345678"))
    assert seen(file) == [
        ("1", "client-side", IN),
        ("2", "server-side", IN),
        ("3", "client-side", IN),
    ]
    comments = [comment for (comment,) in file.rows("frame.comment")]
    assert comments == [
        "pass not_for_the_switch",
        "pass not_for_the_switch",
        "drop unsupported_protocol",
    ]


def test_a_held_fragment_leaves_under_its_own_packet_id(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    whole = udp(CLIENT, (VIP[0], VIP[1]), bytes(range(256)) * 8)
    first, second, *_ = map(bytes, fragment(IP(whole), fragsize=1200))
    send(switch, second)
    send(switch, first)
    assert seen(file) == [
        ("1", "client-side", IN),
        ("2", "client-side", IN),
        ("2", "server-side", OUT),
        ("1", "server-side", OUT),
    ]
    assert file.rows("frame.comment")[3][0].endswith("[held until the first fragment came]")
    reassembled = file.rows("frame.interface_name", "udp.length", only="udp.checksum.status == 1")
    assert sorted(reassembled) == [("client-side", "2056"), ("server-side", "2056")]


def test_padding_and_damage_are_kept_apart(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    packet = tcp(CLIENT, VIP, "S")
    send(switch, packet + bytes(6))
    send(switch, b"\x45\x00\x00")
    file.close()
    with open_capture(file.path) as records:
        arrived, left, damaged = list(records)
    assert arrived.data == packet
    assert len(left.data) == len(packet)
    assert damaged.data == b"\x45\x00\x00"


# -- checksums ---------------------------------------------------------------------------------


def partially(packet: bytes) -> bytes:
    """Return the packet with what offload leaves in its checksum field: the pseudo-header's sum."""
    header = dissect(packet)
    at = len(header) - len(header.payload)
    protocol = header.nh if header.version == 6 else header.proto
    addresses = packet[8:40] if header.version == 6 else packet[12:20]
    length = len(packet) - at
    total = ones_complement_sum(addresses + struct.pack("!IHH", length, 0, protocol))
    field = at + (16 if protocol == 6 else 6)
    return packet[:field] + total.to_bytes(2, "big") + packet[field + 2 :]


@pytest.mark.parametrize("size", [0, 1, 200, 1000, 1001, 60_000])
@pytest.mark.parametrize("make", [tcp, udp])
@pytest.mark.parametrize("ends", [(CLIENT, VIP), (CLIENT6, VIP6)])
def test_partial_checksums_are_completed(
    both: Open,
    size: int,
    make: Callable[..., bytes],
    ends: tuple[tuple[str, int], tuple[str, int]],
) -> None:
    switch = make_switch(ends[1], RIPS6) if ends[1] is VIP6 else make_switch()
    file = both(switch)
    payload = bytes(number * 7 % 251 for number in range(size))
    whole = make(*ends, "S", payload) if make is tcp else make(*ends, payload)
    send(switch, partially(whole), partial=True)
    file.close()
    with open_capture(file.path) as records:
        arrived, left = list(records)
    assert arrived.data == whole == recomputed(whole)
    assert left.data == recomputed(left.data)
    assert left.data.endswith(payload)
    if size == 1000:
        tshark.need_tshark()
        field = "tcp.checksum.status" if make is tcp else "udp.checksum.status"
        for status, comment in file.rows(field, "frame.comment"):
            assert status == "1"
            assert comment.endswith(
                "[L4 checksum left to the network card: completed in this copy]"
            )


def test_a_wrong_partial_checksum_stays_wrong(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    packet = bytearray(partially(tcp(CLIENT, VIP, "S")))
    packet[36] ^= 0x10
    send(switch, bytes(packet), partial=True)
    assert file.rows("tcp.checksum.status") == [("0",), ("0",)]
    errors = tshark.expert(file.path)["Errors"]
    assert {summary[:12] for summary in errors} == {"Bad checksum"}


def test_a_checksum_that_arrived_wrong_is_shown_wrong(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    packet = bytearray(tcp(CLIENT, VIP, "S"))
    packet[36] ^= 0x10
    send(switch, bytes(packet))
    assert file.rows("tcp.checksum.status") == [("0",), ("0",)]


# -- losses and faults -------------------------------------------------------------------------


def test_what_the_stream_has_lost_is_told_in_the_file(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    for number in range(5):
        Dialogue(switch, client=(f"10.0.1.{number + 20}", 999)).client("S")
    file.lines[2:4] = [encode.dropped(2)]
    shown = file.rows("frame.packet_id", "frame.interface_name", "frame.drop_count")
    assert shown == [
        ("1", "client-side", ""),
        ("1", "server-side", ""),
        ("4", "client-side", "2"),
        ("4", "server-side", "2"),
        ("5", "client-side", ""),
        ("5", "server-side", ""),
    ]
    # A client is called by the order in which they are seen here.
    hosts = [name for (name,) in file.rows("ip.src_host", only="frame.packet_id == 4")]
    assert hosts == ["client2"] * 2


def test_a_story_that_fails_costs_no_packet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(packet: PacketRecord, vip: str) -> str:
        if packet.number < 3:
            raise RuntimeError("a bug")
        return "a story"

    switch = make_switch()
    file = BothSidesFile(tmp_path / "both.pcapng", switch, make=lambda head: BothSides(head, fail))
    talk = Dialogue(switch)
    talk.handshake()
    file.close()
    assert file.faults == 2
    assert [record.message for record in caplog.records] == [
        f"a packet is not written to {file.path}"
    ]
    with open_capture(file.path) as records:
        assert len(list(records)) == 2


def test_all_of_many_fragments_that_were_held_are_in_the_file(both: Open) -> None:
    """A recording tells only a few packets of one verdict; here all are wanted, whole."""
    switch = make_switch()
    file = both(switch)
    first, *later = map(bytes, fragment(IP(udp(CLIENT, VIP, bytes(9000))), fragsize=1000))
    for each in later:
        send(switch, each)
    send(switch, first)
    assert len(later) > MOST_SENT
    assert len(file.rows("frame.number")) == 2 * (1 + len(later))
    assert file.rows("udp.length", only='frame.interface_name == "server-side" and udp') == [
        ("9008",)
    ]


def test_a_real_server_that_comes_later_has_a_name(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    group = switch.virtual_servers["web"]
    switch.change(AddRealServer(group, RealServer(endpoint(("10.0.2.14", 8080)))), 1.0)
    send(switch, tcp(("10.0.2.14", 555), ("192.0.2.1", 80), "S"))
    assert file.rows("frame.interface_name", "ip.src_host") == [("server-side", "web-rs4")]


def test_a_recorded_time_before_1970_is_one_clear_line(tmp_path: Path) -> None:
    switch = make_switch()
    events: list[Event] = []
    switch.listen(events.append)
    Dialogue(switch).client("S")
    event = events[-1]
    assert isinstance(event, PacketEvent)
    path = tmp_path / "both.pcapng"
    with (
        RecordedFile(path, switch) as file,
        pytest.raises(CaptureFileError) as caught,
    ):
        file.note(event, 1, -1_000_000_000)
    assert str(caught.value) == f"{path}: the format cannot hold the time -1.0 s"


# -- the story in one line ---------------------------------------------------------------------


def test_the_line_says_who_whom_why_and_what_changed() -> None:
    switch = make_switch(scheduler="lc")
    teller = Teller(switch)
    talk = Dialogue(switch)
    talk.handshake()
    talk.client("R")
    send(switch, bytes(IPv6(src="2001:db8::1", dst="2001:db8::2", nh=59)))
    lines = [
        one_line(each, "10.0.1.100:80")
        for each in map(decode, teller.finish(1.0)[1:])
        if isinstance(each, PacketRecord)
    ]
    client, server = "10.0.1.11:40000", "10.0.2.11:8080"
    there = f"{client} to web 10.0.1.100:80 → {server}"
    why = "fewest active connections: 0, its turn among 3 equals"
    assert lines == [
        f"forward new_connection: {there} ({why}); SYN_RECV (60 s)",
        f"forward known_connection: {server} → web 10.0.1.100:80 to {client}; SYN_RECV (60 s)",
        f"forward known_connection: {there}; SYN_RECV → ESTABLISHED (900 s)",
        f"forward known_connection: {there}; ESTABLISHED → CLOSE (10 s)",
        "pass not_for_the_switch",
    ]


FILTERS = {
    "frame.packet_id == 1": 2,
    'frame.interface_name == "client-side"': 14,
    'frame.interface_name == "server-side"': 11,
    "frame.packet_flags_direction == 1": 14,
    'frame.comment contains "new_connection"': 2,
    'frame.comment contains "→ 10.0.2.11:8080"': 12,
    'frame.comment matches "^(drop|reply)"': 5,
    'frame.comment contains "made by the switch"': 2,
    'frame.comment contains " → ESTABLISHED"': 2,
    "tcp.flags.syn == 1 && tcp.flags.ack == 0 && frame.packet_flags_direction == 2": 1,
    'ip.host == "web-rs1"': 9,
    "tcp.analysis.flags": 0,
    "frame.drop_count": 0,
}
"""The display filters of the docs, and how many packets of the dialogue below each one shows."""


def test_the_display_filters_of_the_docs(both: Open) -> None:
    switch = make_switch()
    file = both(switch)
    converse(Dialogue(switch))
    send(switch, tcp(CLIENT, (VIP[0], 81), "S"))
    send(switch, udp(CLIENT, (VIP[0], 81), b"?"))
    send(switch, bytes(IP(src=CLIENT[0], dst=VIP[0], proto=47) / b"12345678"))
    send(switch, tcp(("10.0.2.12", 555), ("192.0.2.1", 80), "S"))
    send(switch, tcp(("10.0.2.13", 555), ("192.0.2.1", 80), "S"))
    shown = {each: len(file.rows("frame.number", only=each)) for each in FILTERS}
    assert shown == FILTERS
