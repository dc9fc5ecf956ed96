"""UDP, ICMP and fragments on the wire, over IPv4 and IPv6, through both captures."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK, VirtualServer
from tests.support.witness import checksums_are_right, reasons, told

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
CLIENT = {4: "10.0.1.11", 6: "2001:db8:1::11"}
SERVERS = {4: "10.0.2.", 6: "2001:db8:2:"}
CLOSED = 9
"""A port of virtual servers whose real servers have nobody there."""
both_families = pytest.mark.parametrize("version", [4, 6])

TOPOLOGY = replace(
    DUAL_STACK,
    name="datagrams",
    virtual_servers=(
        *DUAL_STACK.virtual_servers,
        *(VirtualServer(f"closed{v}", VIPS[v], CLOSED, ("s1",), "udp") for v in (4, 6)),
    ),
)


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(TOPOLOGY, capture=request.param, check_invariants=True) as made:
        yield made


def place(version: int, port: int) -> str:
    return f"[{VIPS[version]}]:{port}" if version == 6 else f"{VIPS[version]}:{port}"


def python(lab: Lab, host: str, code: str, *arguments: str) -> str:
    """Run a little program on a host; return what it prints."""
    argv = ["python", "-c", textwrap.dedent(code), *arguments]
    return lab.exec(host, argv, check=True, timeout=60).stdout


@both_families
def test_a_closed_udp_port_of_a_real_server_refuses_in_the_name_of_the_vip(
    lab: Lab, version: int
) -> None:
    """ECONNREFUSED at a connected socket: the kernel has matched the error to it."""
    with (
        sniff(lab, "c1", "icmp or icmp6") as seen,
        sniff(lab, "s1", "icmp or icmp6") as canary,
        checksums_are_right(lab, "c1", "s1", expression=f"port {CLOSED} or icmp or icmp6"),
    ):
        result = lab.client("c1", "udp", place(version, CLOSED), "--sizes", "1,100,1400")
    assert len(result["errors"]) == 4
    assert all("ConnectionRefusedError" in error for error in result["errors"])
    assert SERVERS[version] in told(lab, "s1", canary.path)
    text = told(lab, "c1", seen.path)
    unreachable = [line for line in text.splitlines() if "unreachable" in line]
    assert len(unreachable) == 4
    assert all(f" {VIPS[version]} > {CLIENT[version]}: " in line for line in unreachable)
    assert SERVERS[version] not in text


@both_families
def test_echo_to_the_vip(lab: Lab, version: int) -> None:
    before = reasons(lab).get("echo_to_vip", 0)
    with checksums_are_right(lab, "c1", judged=version == 6):
        for size in ("0", "1", "56", "1400"):
            argv = ["ping", "-c", "1", "-W", "5", "-s", size, VIPS[version]]
            assert "1 received" in lab.exec("c1", argv).stdout
    assert reasons(lab)["echo_to_vip"] == before + 4


@both_families
def test_datagrams_of_every_size_up_to_60_000_bytes_echo(lab: Lab, version: int) -> None:
    sizes = [0, 1, 2, 3, 1452, 1453, 1472, 1473, 2960, 9000, 60_000, 60_001]
    text = ",".join(map(str, sizes))
    before = reasons(lab)
    with checksums_are_right(lab, "c1", "s1", "s2", "s3", packets=0, judged=False):
        result = lab.client("c1", "udp", place(version, 7), "--sizes", text)
    assert (result["errors"], result["echoed"]) == ([], sizes)
    after = reasons(lab)
    assert after["fragment"] - before.get("fragment", 0) > 2 * 80
    for reason in ("fragment_refused", "fragment_of_dropped", "internal_error"):
        assert after.get(reason, 0) == before.get(reason, 0)


@both_families
def test_datagrams_of_60_000_bytes_beside_conntrack(
    make_lab: Callable[..., Lab], version: int
) -> None:
    """With conntrack in its namespace, nfqueue gets whole datagrams of 60,000 bytes."""
    lab = make_lab(topology=TOPOLOGY, capture="nfqueue", switch=False)
    rule = ["-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID"]
    for program in ("iptables", "ip6tables"):
        lab.exec("switch", [program, *rule], check=True)
    lab.start_switch()
    sizes = "1400,9000,60000,60001"
    result = lab.client("c1", "udp", place(version, 7), "--sizes", sizes)
    assert result["errors"] == []
    assert "fragment" not in reasons(lab), "the canary: conntrack did put them together"


REVERSED = """
    import random, socket, sys
    from scapy.all import IP, IPv6, UDP, Raw, fragment, fragment6, IPv6ExtHdrFragment, raw
    source, vip, order = sys.argv[1:]
    port = 40000 + random.randrange(20000)
    body = bytes(range(256)) * 16
    if ":" in vip:
        header = IPv6(src=source, dst=vip, hlim=40) / IPv6ExtHdrFragment(id=port)
        whole = IPv6(raw(IPv6(src=source, dst=vip) / UDP(sport=port, dport=7) / body))
        pieces = fragment6(header / UDP(sport=port, dport=7, chksum=whole[UDP].chksum) / body, 1280)
    else:
        whole = IP(raw(IP(src=source, dst=vip, ttl=40, id=port) / UDP(sport=port, dport=7) / body))
        pieces = fragment(whole, 1200)
    family, kind = (10, "IPv6") if ":" in vip else (2, "IP")
    if order == "reversed":
        pieces.reverse()
    with socket.socket(family, socket.SOCK_DGRAM) as listening:
        listening.bind((source, port))
        listening.settimeout(5)
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
            for piece in pieces:
                sending.sendto(raw(piece), (vip, 0))
        answer, sender = listening.recvfrom(65535)
    assert answer == body and sender[:2] == (vip, 7), sender
    print(len(pieces))
"""


@both_families
@pytest.mark.parametrize("order", ["in-order", "reversed"])
def test_fragments_in_any_order_are_one_hop_older(lab: Lab, version: int, order: str) -> None:
    """The last first: held until the first one decides, then released; each with its own hop."""
    before = reasons(lab)
    fragments = "ip[6:2] & 0x3fff != 0" if version == 4 else "ip6[6] == 44"
    with (
        sniff(lab, "s1", fragments) as s1,
        sniff(lab, "s2", fragments) as s2,
        sniff(lab, "s3", fragments) as s3,
    ):
        pieces = int(python(lab, "c1", REVERSED, CLIENT[version], VIPS[version], order))
    after = reasons(lab)
    assert pieces >= 4
    held = after.get("fragment_held", 0) - before.get("fragment_held", 0)
    assert held == (pieces - 1 if order == "reversed" else 0)
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import rdpcap

    arrived = [
        packet[IP].ttl if version == 4 else packet[IPv6].hlim
        for sniffer in (s1, s2, s3)
        for packet in rdpcap(str(sniffer.path))
        if (packet[IP].src if version == 4 else packet[IPv6].src) == CLIENT[version]
    ]
    assert arrived == [39] * pieces


OUT_OF_ORDER_FROM_SERVER = """
    import socket, sys
    from scapy.all import IP, UDP, fragment, raw
    source, target = sys.argv[1:]
    whole = IP(raw(IP(src=source, dst=target, id=4711) / UDP(sport=7, dport=4711) / bytes(3000)))
    with socket.socket(2, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
        for piece in reversed(fragment(whole, 1200)):
            sending.sendto(raw(piece), (target, 0))
"""


def test_a_real_servers_own_fragments_pass_in_any_order(lab: Lab) -> None:
    """Not of any connection; held, passed and not captured a second time."""
    with sniff(lab, "c2", "src 10.0.2.11 and ip[6:2] & 0x3fff != 0") as seen:
        python(lab, "s1", OUT_OF_ORDER_FROM_SERVER, "10.0.2.11", "10.0.1.12")
    from scapy.utils import rdpcap

    assert len(rdpcap(str(seen.path))) == 3


LARGE_FROM_SERVER = """
    import socket, sys
    source, target, size = sys.argv[1:]
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sending:
        sending.bind((source, 5555))
        sending.settimeout(5)
        for number in range(3):
            body = bytes([number]) * int(size)
            sending.sendto(body, (target, 5556))
            assert sending.recv(65535) == body
"""
LARGE_ECHO = """
    import socket, sys
    (target,) = sys.argv[1:]
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as listening:
        listening.bind((target, 5556))
        listening.settimeout(30)
        print("ready", flush=True)
        for _ in range(3):
            body, sender = listening.recvfrom(65535)
            listening.sendto(body, sender)
"""


@both_families
def test_a_real_servers_large_pings_and_datagrams_pass(lab: Lab, version: int) -> None:
    """Not of any connection: if the first ones do not tell so, the others are held for ever."""
    client, server = (
        f"{CLIENT[version][:-1]}2",
        f"{SERVERS[version]}{11 if version == 4 else ':11'}",
    )
    ping = ["ping", f"-{version}", "-c", "3", "-i", "0.2", "-W", "5", "-s", "4000", client]
    assert "3 received" in lab.exec("s1", ping).stdout
    ping[-1] = server
    assert "3 received" in lab.exec("c2", ping).stdout
    code = ["python", "-c", textwrap.dedent(LARGE_ECHO), client]
    listener = lab.popen("c2", code, stdout=subprocess.PIPE)
    assert listener.stdout is not None
    assert listener.stdout.readline() == b"ready\n"
    python(lab, "s1", LARGE_FROM_SERVER, server, client, "4000")
    assert listener.wait(10) == 0
    # Those of connections are translated as ever.
    argv = ("udp", place(version, 7), "--sizes", "4000,9000")
    assert lab.client("c1", *argv)["errors"] == []


GARBAGE = """
    import random, socket, sys
    source, vip, seed = sys.argv[1:]
    rng = random.Random(int(seed))
    six = ":" in vip
    family = socket.AF_INET6 if six else socket.AF_INET
    a, b = socket.inet_pton(family, source), socket.inet_pton(family, vip)
    count = 0
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
        for protocol in (0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 89, 132, 253, 255):
            for size in (0, 1, 2, 3, 4, 7, 8, 9, 19, 20, 21, 40, 60, 333, 1400):
                body = rng.randbytes(size)
                if six:
                    header = bytes([0x60, 0, 0, 0]) + size.to_bytes(2, "big")
                    packet = header + bytes([protocol, 64]) + a + b + body
                else:
                    flags = rng.choice((0, 0x2000, 0x4000, 0x00B9, 0x2001, 0x1FFF))
                    header = bytes([0x45, 0, 0, 0]) + rng.randbytes(2) + flags.to_bytes(2, "big")
                    packet = header + bytes([64, protocol, 0, 0]) + a + b + body
                try:
                    sending.sendto(packet, (vip, 0))
                    count += 1
                except OSError:
                    pass
    print(count)
"""


@both_families
def test_garbage_to_the_vip_does_not_stop_the_traffic(lab: Lab, version: int) -> None:
    before = sum(reasons(lab).values())
    sent = int(python(lab, "c2", GARBAGE, CLIENT[version][:-1] + "2", VIPS[version], "7"))
    assert sent > 200
    url = f"http://{place(version, 80)}/"
    assert lab.client("c1", "requests", url, "-n", "6")["answers"] == {"s1": 3, "s2": 3}
    after = reasons(lab)
    assert sum(after.values()) - before > 200, "the canary: it arrived"
    assert "internal_error" not in after


@both_families
def test_every_checksum_is_right_on_both_sides(lab: Lab, version: int) -> None:
    with checksums_are_right(lab, "c1", "s1", "s2", "s3"):
        url = f"{place(version, 80)}/"
        for scheme in ("http", "https"):
            secure = url.replace(":80/", ":443/") if scheme == "https" else url
            assert lab.client("c1", "requests", f"{scheme}://{secure}", "-n", "6")["errors"] == []
        argv = ("transfer", f"http://{url}", "--bytes", "300000")
        assert lab.client("c1", *argv)["errors"] == []
        for _ in range(3):
            argv = ("udp", place(version, 7), "--sizes", "0,1,2,3,1400")
            assert lab.client("c1", *argv)["errors"] == []
        assert lab.client("c1", "requests", f"http://{place(version, 81)}/", "-n", "1")["errors"]
        assert lab.client("c1", "udp", place(version, 81), "--sizes", "1")["errors"]
        lab.exec("c1", ["ping", "-c", "1", VIPS[version]], check=True)
