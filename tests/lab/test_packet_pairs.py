"""Packets of both sides are matched by what NAT may not touch, and compared field by field."""

from dataclasses import replace
from ipaddress import ip_address

from netns_lab.scenarios.packet_pairs import changed_fields, ladder, pair_up, side_by_side
from netns_lab.sniff import Seen

CLIENT, VIP, REAL = (ip_address(text) for text in ("10.0.1.11", "10.0.1.100", "10.0.2.11"))

SYN = Seen(
    time=0.0,
    source=CLIENT,
    source_port=40000,
    destination=VIP,
    destination_port=80,
    protocol=6,
    ttl=64,
    flags=("SYN",),
    sequence=1000,
    payload=b"",
    ip_checksum=0x1111,
    ip_checksum_ok=True,
    l4_checksum=0x2222,
    l4_checksum_ok=True,
)
SYN_BEHIND = replace(SYN, destination=REAL, ttl=63, ip_checksum=0x3333, l4_checksum=0x4444)
ANSWER = replace(
    SYN,
    source=VIP,
    source_port=80,
    destination=CLIENT,
    destination_port=40000,
    flags=("SYN", "ACK"),
)
ANSWER_BEHIND = replace(ANSWER, source=REAL)
GET = replace(
    SYN, flags=("PSH", "ACK"), sequence=1001, payload=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
)
GET_BEHIND = replace(GET, destination=REAL)


def test_packets_are_matched_whatever_the_order_on_the_other_side() -> None:
    pairs = pair_up([SYN, ANSWER, GET], [GET_BEHIND, ANSWER_BEHIND, SYN_BEHIND], CLIENT)
    assert [(pair.at_client, pair.at_server) for pair in pairs] == [
        (SYN, SYN_BEHIND),
        (ANSWER, ANSWER_BEHIND),
        (GET, GET_BEHIND),
    ]
    assert [pair.to_server for pair in pairs] == [True, False, True]
    assert [pair.name for pair in pairs] == ["SYN", "SYN/ACK", "GET / HTTP/1.1"]


def test_a_retransmission_is_matched_once_for_each_time_it_was_seen() -> None:
    assert len(pair_up([SYN, SYN], [SYN_BEHIND], CLIENT)) == 1
    assert len(pair_up([SYN, SYN], [SYN_BEHIND, SYN_BEHIND], CLIENT)) == 2


def test_another_payload_is_another_packet() -> None:
    assert pair_up([GET], [replace(GET_BEHIND, payload=b"GET /x")], CLIENT) == []


def test_a_long_payload_is_named_by_its_length() -> None:
    data = replace(GET, payload=b"x" * 1448)
    (pair,) = pair_up([data], [replace(data, destination=REAL)], CLIENT)
    assert pair.name == "1448 bytes"


def test_only_changed_fields_are_named_and_marked() -> None:
    (pair,) = pair_up([SYN], [SYN_BEHIND], CLIENT)
    assert changed_fields(pair) == ["destination", "TTL", "IP checksum", "TCP checksum"]
    lines = side_by_side(pair, "c1", "s1", lambda text: f"<{text}>")
    assert lines[0].split() == ["-->", "SYN", "on", "c1's", "wire", "on", "s1's", "wire"]
    table = {line[:20].strip(): line[20:].split() for line in lines[1:]}
    assert table["source"] == ["10.0.1.11:40000", "10.0.1.11:40000"]
    assert table["destination"] == ["10.0.1.100:80", "<=>>", "<10.0.2.11:80>"]
    assert table["TTL"] == ["64", "<=>>", "<63>"]
    assert table["sequence number"] == ["1000", "1000"]


def test_a_wrong_checksum_is_called_wrong() -> None:
    (pair,) = pair_up([SYN], [replace(SYN_BEHIND, l4_checksum_ok=False)], CLIENT)
    assert "WRONG" in side_by_side(pair, "c1", "s1", str)[-1]


def test_the_ladder_has_a_line_for_each_packet() -> None:
    lines = ladder(pair_up([SYN, ANSWER], [SYN_BEHIND, ANSWER_BEHIND], CLIENT))
    assert [line.split() for line in lines] == [
        ["-->", "SYN", "to", "10.0.1.100:80", "to", "10.0.2.11:80"],
        ["<--", "SYN/ACK", "from", "10.0.1.100:80", "from", "10.0.2.11:80"],
    ]
