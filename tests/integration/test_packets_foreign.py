"""Who may speak in whose name: packets that come by the wrong way change no state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoRequest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK
from tests.support.packets import ip, tcp, udp
from tests.support.witness import reasons, told

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SERVERS = {
    4: ("10.0.2.11", "10.0.2.12", "10.0.2.13"),
    6: ("2001:db8:2::11", "2001:db8:2::12", "2001:db8:2::13"),
}
CLIENTS = {4: "10.0.1.12", 6: "2001:db8:1::12"}
NOBODY = {4: "10.0.1.77", 6: "2001:db8:1::77"}
OWN = {4: "10.0.1.1", 6: "2001:db8:1::1"}

SEND = """
import json, socket, sys
destination, packets, frame, interface = json.load(sys.stdin)
if frame:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((interface, 0))
    for packet in packets:
        wire.send(bytes.fromhex(frame) + bytes.fromhex(packet))
else:
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for packet in packets:
        raw.sendto(bytes.fromhex(packet), (destination, 0))
"""


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(DUAL_STACK, capture=request.param) as made:
        loose = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done"
        made.exec("switch", ["sh", "-c", loose], check=True)
        yield made


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def send(
    lab: Lab, version: int, packets: list[bytes], frame: str = "", interface: str = "eth0"
) -> None:
    """Let c1 send packets as they are, to the VIP or (with an Ethernet header) onto a wire."""
    told = json.dumps([VIPS[version], [packet.hex() for packet in packets], frame, interface])
    lab.exec("c1", ["python", "-c", SEND], input=told, check=True)
    time.sleep(0.3)


def connections(lab: Lab) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(lab.cli("show", "connections", "--json").stdout)
    return found


def test_a_handshake_of_one_hand_establishes_nothing(lab: Lab, version: int) -> None:
    """SYN, the SYN/ACK in the name of each server, and the ACK: all from the clients' side."""
    vip, packets = (VIPS[version], 80), []
    for number in range(100):
        client = (NOBODY[version], 20000 + number)
        packets += [tcp(client, vip, "S", seq=1)]
        packets += [tcp((s, 80), client, "SA", seq=77, ack=2) for s in SERVERS[version]]
        packets += [tcp(client, vip, "A", seq=2, ack=78)]
    before = reasons(lab)
    send(lab, version, packets)
    states = {
        each["state"]
        for each in connections(lab)
        if each["source"].rpartition(":")[0].strip("[]") == NOBODY[version]
    }
    assert states == {"SYN_RECV"}
    new = reasons(lab)["new_connection"] - before.get("new_connection", 0)
    assert new >= 90, "the canary: the SYNs came"


def test_an_interface_that_comes_later_speaks_for_no_real_server(lab: Lab, version: int) -> None:
    late = f"late{version}"
    pid = lab.exec("c1", ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]).stdout.strip()
    peer = ["peer", "name", late, "netns", pid]
    lab.exec("switch", ["ip", "link", "add", late, "type", "veth", *peer], check=True)
    for host in ("switch", "c1"):
        lab.exec(host, ["ip", "link", "set", late, "up"], check=True)
    loose = f"echo 0 >/proc/sys/net/ipv4/conf/{late}/rp_filter"
    lab.exec("switch", ["sh", "-c", loose], check=True)
    address = lab.exec("switch", ["cat", f"/sys/class/net/{late}/address"]).stdout.strip()
    frame = address.replace(":", "") + "020000000099" + ("0800" if version == 4 else "86dd")
    vip, client = (VIPS[version], 80), (NOBODY[version], 25000)
    before = reasons(lab)
    send(lab, version, [tcp(client, vip, "S", seq=1)])
    forged = [tcp((server, 80), client, "SA", seq=77, ack=2) for server in SERVERS[version]]
    send(lab, version, forged, frame, late)
    send(lab, version, [tcp(client, vip, "A", seq=2, ack=78)])
    (state,) = {each["state"] for each in connections(lab) if ":25000" in each["source"]}
    # The real server answers the forged ACK of its half-open connection with a RST at the most.
    assert state == "SYN_RECV"
    assert reasons(lab)["new_connection"] == before.get("new_connection", 0) + 1


def test_what_the_host_would_not_forward_makes_no_entry(lab: Lab, version: int) -> None:
    """At its last hop: the switch's host says so, and the switch never sees it."""
    hop = {"ttl": 1} if version == 4 else {"hlim": 1}
    before, vip = reasons(lab), VIPS[version]
    packets = []
    for port in range(30000, 30020):
        for made in (
            tcp((CLIENTS[version], port), (vip, 80), "S"),
            udp((CLIENTS[version], port), (vip, 7)),
        ):
            header = ip(CLIENTS[version], vip, **hop)
            l4 = made[20:] if version == 4 else made[40:]
            header = type(header)(bytes(header / l4))
            if version == 4:
                header.proto, header.chksum = made[9], None
            else:
                header.nh = made[6]
            packets.append(bytes(header))
    said = "icmp[0] == 11" if version == 4 else "icmp6 and ip6[40] == 3"
    with sniff(lab, "c2", said) as heard:
        send(lab, version, packets)
    assert told(lab, "c2", heard.path).count("time exceeded") >= 5
    after = reasons(lab)
    assert after.get("new_connection", 0) == before.get("new_connection", 0)
    assert not [each for each in connections(lab) if ":300" in each["source"]]


def asked(lab: Lab) -> dict[str, int]:
    """What the packets of the next test would count as; what others' retransmissions do is left."""
    wanted = {"new_connection", "no_virtual_server", "echo_to_vip", "port_reuse", "answer_limit"}
    return {reason: count for reason, count in reasons(lab).items() if reason in wanted}


@pytest.mark.parametrize("frame", ["ff" * 6, "01005e000064", "333300000064"])
def test_a_frame_to_many_is_nobodys_request(lab: Lab, version: int, frame: str) -> None:
    """RFC 1122, section 3.3.6: neither scheduled nor answered."""
    vip, client = VIPS[version], (CLIENTS[version], 31000)
    ping = ICMP() if version == 4 else ICMPv6EchoRequest()
    packets = [
        tcp(client, (vip, 80), "S"),
        tcp(client, (vip, 4444), "S"),
        udp(client, (vip, 7)),
        udp(client, (vip, 4444)),
        bytes(ip(client[0], vip) / ping),
    ]
    before = asked(lab)
    send(lab, version, packets, frame + "020000000099" + ("0800" if version == 4 else "86dd"))
    assert asked(lab) == before


def test_the_machines_own_addresses_come_from_no_wire(lab: Lab, version: int) -> None:
    vip, client = VIPS[version], (OWN[version], 32000)
    packets = [tcp(client, (vip, 80), "S"), udp(client, (vip, 7)), udp(client, (vip, 4444))]
    before = reasons(lab)
    # Through the gateway, as a frame of c1's own: a raw socket would refuse the source.
    gateway = lab.exec(
        "switch", ["sh", "-c", "cat /sys/class/net/*clients*/address /sys/class/net/cl*/address"]
    ).stdout.split()[0]
    head = gateway.replace(":", "") + "020000000099" + ("0800" if version == 4 else "86dd")
    send(lab, version, packets, head)
    after = reasons(lab)
    assert after.get("new_connection", 0) == before.get("new_connection", 0)
    assert after.get("no_virtual_server", 0) == before.get("no_virtual_server", 0)
