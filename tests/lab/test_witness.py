"""The judge of checksums is awake: it finds what is wrong, and misses nobody's silence."""

import pytest

from netns_lab.lab import Lab
from tests.support.witness import checksums_are_right, complaints, count_packets

SPOILED = """
import sys
from scapy.all import IP, IPv6, TCP, UDP, ICMP, ICMPv6EchoRequest, raw
import socket
kind = sys.argv[1]
packets = {
    "ip": IP(dst="10.0.1.1", chksum=1) / UDP() / b"x",
    "tcp": IP(dst="10.0.1.1") / TCP(chksum=1),
    "udp": IP(dst="10.0.1.1") / UDP(chksum=1) / b"x",
    "icmp": IP(dst="10.0.1.1") / ICMP(chksum=1),
    "tcp6": IPv6(dst="2001:db8:1::1", src="2001:db8:1::11") / TCP(chksum=1),
    "udp6": IPv6(dst="2001:db8:1::1", src="2001:db8:1::11") / UDP(chksum=1) / b"x",
    "icmp6": IPv6(dst="2001:db8:1::1", src="2001:db8:1::11") / ICMPv6EchoRequest(cksum=1),
}
from scapy.layers.l2 import Ether
frame = Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01") / packets[kind]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw_socket:
    raw_socket.bind(("eth0", 0))
    for _ in range(5):
        raw_socket.send(raw(frame))
"""

pytestmark = [pytest.mark.netns, pytest.mark.lab(topology="dual-stack", switch=False)]


@pytest.mark.parametrize("kind", ["ip", "tcp", "udp", "icmp", "tcp6", "udp6", "icmp6"])
def test_a_wrong_checksum_is_found(module_lab: Lab, kind: str) -> None:
    with (
        pytest.raises(AssertionError, match=r"cksum|incorrect"),
        checksums_are_right(module_lab, "c1"),
    ):
        module_lab.exec("c1", ["python", "-c", SPOILED, kind], check=True)


def test_silence_is_no_proof(module_lab: Lab) -> None:
    with (
        pytest.raises(AssertionError, match="c1 saw 0 packets"),
        checksums_are_right(module_lab, "c1", expression="port 4711"),
    ):
        pass


def test_right_checksums_are_found_right(module_lab: Lab) -> None:
    with checksums_are_right(module_lab, "c1", "s1"):
        for url in ("http://10.0.2.11/", "http://[2001:db8:2::11]/"):
            assert module_lab.client("c1", "requests", url, "-n", "1")["errors"] == []
        for target in ("10.0.2.11", "2001:db8:2::11"):
            module_lab.exec("c1", ["ping", "-c", "1", target], check=True)


def test_what_tcpdump_says() -> None:
    text = (
        "16:00:00.1 IP (tos 0x0, ttl 64, bad cksum 1 (->65bb)!)\n"
        "    10.0.1.11.1 > 10.0.1.1.2: [bad udp cksum 0x0001 -> 0x9f12!] UDP, length 1\n"
        "16:00:00.2 IP (tos 0x0)\n    10.0.1.11.1 > 10.0.1.1.2: Flags [S], cksum 0x1 (correct)\n"
    )
    assert len(complaints(text)) == 2
    assert count_packets(text) == 2
