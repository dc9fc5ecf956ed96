"""Our reading of a capture file against scapy's writing of it."""

from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

from netns_lab.sniff import Seen, read_pcap

PACKETS = {
    "TCP": IP(src="10.0.1.11", dst="10.0.1.100", ttl=63)
    / TCP(sport=40000, dport=80, flags="PA", seq=7)
    / Raw(b"odd"),
    "TCP with options": IP(src="10.0.1.11", dst="10.0.1.100", options=[b"\x01\x01\x01\x01"])
    / TCP(sport=40000, dport=80, flags="S", options=[("MSS", 1460)]),
    "UDP": IP(src="10.0.1.11", dst="10.0.1.100") / UDP(sport=40000, dport=7) / Raw(b"data"),
    "IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=9)
    / TCP(sport=40000, dport=80, flags="FA"),
}


def through_a_file(directory: Path, *packets: Packet) -> list[Seen]:
    path = directory / "packets.pcap"
    wrpcap(
        str(path), [Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / p for p in packets]
    )
    return read_pcap(path)


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS)
def test_what_was_written_is_what_is_seen(tmp_path: Path, packet: Packet) -> None:
    (seen,) = through_a_file(tmp_path, packet)
    built = packet.__class__(bytes(packet))
    transport = built[TCP] if TCP in built else built[UDP]
    assert (str(seen.source), str(seen.destination)) == (built.src, built.dst)
    assert (seen.source_port, seen.destination_port) == (transport.sport, transport.dport)
    assert seen.l4_checksum == transport.chksum
    assert seen.payload == bytes(transport.payload)
    assert seen.ttl == (built.hlim if IPv6 in built else built.ttl)
    assert seen.ip_checksum == (None if IPv6 in built else built.chksum)
    assert seen.ip_checksum_ok
    assert seen.l4_checksum_ok


def test_flags_and_sequence_number(tmp_path: Path) -> None:
    (seen,) = through_a_file(tmp_path, PACKETS["TCP"])
    assert (seen.flags, seen.sequence) == (("PSH", "ACK"), 7)


def test_ethernet_padding_is_no_payload(tmp_path: Path) -> None:
    (seen,) = through_a_file(tmp_path, IP(bytes(PACKETS["TCP"])) / Raw(b"\0" * 6))
    assert seen.payload == b"odd"
    assert seen.l4_checksum_ok


def test_wrong_checksums_are_noticed(tmp_path: Path) -> None:
    wrong = IP(src="10.0.1.11", dst="10.0.1.100", chksum=1) / TCP(chksum=1)
    (seen,) = through_a_file(tmp_path, wrong)
    assert not seen.ip_checksum_ok
    assert not seen.l4_checksum_ok


def test_a_zero_checksum_means_none_for_udp_over_ipv4_only(tmp_path: Path) -> None:
    none = UDP(sport=1, dport=7, chksum=0)
    over_ipv4, over_ipv6 = through_a_file(tmp_path, IP() / none, IPv6() / none)
    assert over_ipv4.l4_checksum_ok
    assert not over_ipv6.l4_checksum_ok


def test_other_packets_are_passed_over(tmp_path: Path) -> None:
    seen = through_a_file(tmp_path, ARP(), IP(dst="10.0.0.1") / ICMP(), PACKETS["UDP"])
    assert [packet.protocol for packet in seen] == [17]


def test_fragments_and_runts_are_left_out(tmp_path: Path) -> None:
    whole = PACKETS["UDP"]
    fragments = fragment(IP(src="10.0.1.11", dst="10.0.1.100") / UDP() / Raw(bytes(100)), 48)
    assert len(fragments) > 2
    runt = IP(src="10.0.1.11", dst="10.0.1.100", proto=6) / Raw(b"short")
    assert len(through_a_file(tmp_path, whole, *fragments, runt, whole)) == 2
