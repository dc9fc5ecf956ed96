"""What the switch answers on the wire: so many errors, and nothing to who has a forged source."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK
from tests.support.witness import reasons, told

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
DATAGRAMS = 3000
BURST, RATE = 50, 1000

FLOOD = """
import json, socket, sys, time
vip, count = sys.argv[1], int(sys.argv[2])
six = ":" in vip
family = socket.AF_INET6 if six else socket.AF_INET
protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
hearing = socket.socket(family, socket.SOCK_RAW, protocol)
hearing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
sending = socket.socket(family, socket.SOCK_DGRAM)
begin = time.monotonic()
for number in range(count):
    sending.sendto(b"anybody there?", (vip, 4444))
    if number % 10 == 9:
        time.sleep(0.001)
heard, last = 0, begin
hearing.settimeout(1.0)
try:
    while True:
        message, (sender, *_) = hearing.recvfrom(2048)
        kind = message[:2] if six else message[20:22]
        if sender == vip and kind == (b"\\x01\\x04" if six else b"\\x03\\x03"):
            heard += 1
except TimeoutError:
    pass
print(json.dumps({"heard": heard, "seconds": time.monotonic() - begin - 1.0}))
"""


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(DUAL_STACK, capture=request.param) as made:
        yield made


@pytest.mark.parametrize("version", [4, 6])
def test_port_unreachables_are_limited_and_what_is_dropped_is_counted(
    lab: Lab, version: int
) -> None:
    before = reasons(lab)
    argv = ["python", "-c", FLOOD, VIPS[version], str(DATAGRAMS)]
    result = json.loads(lab.exec("c1", argv, check=True, timeout=60).stdout)
    after = reasons(lab)
    answered = after["no_virtual_server"] - before.get("no_virtual_server", 0)
    limited = after["answer_limit"] - before.get("answer_limit", 0)
    assert answered + limited <= DATAGRAMS
    assert limited > DATAGRAMS / 2, "the canary: the flood was faster than the limit"
    assert result["heard"] == answered
    assert BURST <= answered <= BURST + RATE * result["seconds"] + 1


def test_refused_connections_and_pings_are_answered_all_the_same(lab: Lab) -> None:
    before = reasons(lab)
    lab.exec("c1", ["python", "-c", FLOOD, VIPS[4], "500"], check=True, timeout=60)
    connect = (
        "import socket\n"
        "for _ in range(200):\n"
        "    assert socket.socket().connect_ex(('10.0.1.100', 4444)) == 111\n"
    )
    lab.exec("c1", ["python", "-c", connect], check=True, timeout=30)
    ping = lab.exec("c1", ["ping", "-q", "-c", "200", "-i", "0.002", "-W", "5", VIPS[4]])
    assert "200 received" in ping.stdout
    assert reasons(lab)["no_virtual_server"] - before.get("no_virtual_server", 0) >= 200


FORGED = """
import socket, sys
from scapy.all import ICMP, IP, TCP, UDP, raw
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
    for source in ("127.0.0.1", "127.9.9.9"):
        for l4 in (TCP(dport=80, flags="S"), TCP(dport=80, flags="A"), UDP(dport=4444), ICMP()):
            sending.sendto(raw(IP(src=source, dst=sys.argv[1]) / l4), (sys.argv[1], 0))
"""


def test_what_comes_from_loopback_is_neither_answered_nor_scheduled(lab: Lab) -> None:
    """The kernel discards it in front of tun; nfqueue sees it before the kernel judges."""
    before = reasons(lab)
    with sniff(lab, "switch", "net 127.0.0.0/8 and host 10.0.1.100", interface="lo") as seen:
        lab.exec("c1", ["python", "-c", FORGED, VIPS[4]], check=True, timeout=60)
        ping = lab.exec("c1", ["ping", "-q", "-c", "1", "-W", "5", VIPS[4]])
        assert "1 received" in ping.stdout, "the canary: what came before it was decided on"
    after = reasons(lab)
    changed = {key: after[key] - before.get(key, 0) for key in after}
    changed = {key: value for key, value in changed.items() if value}
    expected = {"echo_to_vip": 1}
    if lab.capture == "nfqueue":
        expected["forged_source"] = 8
    assert changed == expected
    assert told(lab, "switch", seen.path) == ""
