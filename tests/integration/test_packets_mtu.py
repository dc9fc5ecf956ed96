"""Path MTU discovery and traceroute through the switch, over links that only routers know.

    c1 ----------------------- [switch] ----------------------- s1
    c2 -- r2 == 1280 == r1 --/          \\-- r3 == 1280 == r4 -- s2

Hosts' own links are of 1,500 bytes, so TCP's MSS option tells nobody of the narrow ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import NARROW, VirtualServer
from tests.support.witness import checksums_are_right, reasons, told

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SWITCH = {4: "10.0.1.1", 6: "2001:db8:1::1"}
both_families = pytest.mark.parametrize("version", [4, 6])
TWENTY_MEGABYTES = "20000000"


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(NARROW, capture=request.param, check_invariants=True) as made:
        yield made


@pytest.fixture(scope="module")
def one_packet(lab: Lab) -> Iterator[Lab]:
    """The same network with an echo service whose datagrams are scheduled one by one."""
    services = tuple(
        VirtualServer(f"echo{version}", vip, 7, ("s1", "s2"), "udp", one_packet=True)
        for version, vip in VIPS.items()
    )
    topology = replace(NARROW, name="one-packet", virtual_servers=services)
    with Lab(topology, capture=lab.capture, check_invariants=True) as made:
        yield made


def place(version: int, port: int) -> str:
    return f"[{VIPS[version]}]:{port}" if version == 6 else f"{VIPS[version]}:{port}"


def path_mtu(lab: Lab, host: str, target: str) -> int | None:
    """Return what the host's kernel has learned of the way to an address."""
    found = re.search(r"mtu (\d+)", lab.exec(host, ["ip", "route", "get", target]).stdout)
    return int(found[1]) if found else None


def forget_path_mtus(lab: Lab) -> None:
    for host in ("c1", "c2", "s1", "s2"):
        for family in ("-4", "-6"):
            lab.exec(host, ["ip", family, "route", "flush", "cache"], check=True)


@both_families
def test_twenty_megabytes_to_a_real_server_behind_a_narrow_link(lab: Lab, version: int) -> None:
    """Too large on its way to the real server: r3 says so, and the client is to understand."""
    forget_path_mtus(lab)
    assert path_mtu(lab, "c1", VIPS[version]) is None
    errors_before = reasons(lab).get("icmp_error", 0)
    with sniff(lab, "c1", "icmp or icmp6") as errors:
        url = f"http://{place(version, 8080)}/"
        # Upload first: a download would teach s2 the path MTU, and its SYN-ACK would tell it.
        for direction in ("upload", "download"):
            argv = ("transfer", url, "--bytes", TWENTY_MEGABYTES, "--only", direction)
            assert lab.client("c1", *argv)["errors"] == []
    assert path_mtu(lab, "c1", VIPS[version]) == 1280
    assert reasons(lab)["icmp_error"] > errors_before
    said = [line for line in told(lab, "c1", errors.path).splitlines() if "too big" in line]
    said += [line for line in told(lab, "c1", errors.path).splitlines() if "need to frag" in line]
    assert said
    assert all(f" {VIPS[version]} > " in line for line in said)


@both_families
def test_twenty_megabytes_to_a_client_behind_a_narrow_link(lab: Lab, version: int) -> None:
    """Too large on its way to the client: r1 tells the VIP, and the real server is to know."""
    forget_path_mtus(lab)
    client = str(NARROW.host("c2").ip_of_family(version))
    assert path_mtu(lab, "s1", client) is None
    url = f"http://{place(version, 80)}/"
    result = lab.client("c2", "transfer", url, "--bytes", TWENTY_MEGABYTES)
    assert result["errors"] == []
    assert path_mtu(lab, "s1", client) == 1280


@both_families
def test_errors_carry_right_checksums_inside_and_out(lab: Lab, version: int) -> None:
    forget_path_mtus(lab)
    with checksums_are_right(lab, "c1", "c2", "s1", "s2"):
        for client, port in (("c1", 8080), ("c2", 80), ("c1", 80), ("c2", 8080)):
            for direction in ("upload", "download"):
                url = f"http://{place(version, port)}/"
                argv = ("transfer", url, "--bytes", "300000", "--only", direction)
                assert lab.client(client, *argv)["errors"] == []
    assert path_mtu(lab, "c1", VIPS[version]) == 1280


@both_families
def test_datagrams_larger_than_the_narrow_link_echo(lab: Lab, version: int) -> None:
    """IPv4 routers fragment them on the way; over IPv6 the sender has to learn to."""
    for client, port in (("c1", 8007), ("c2", 7), ("c2", 8007)):
        argv = ("udp", place(version, port), "--sizes", "1400,1400,1400,9000,1272")
        lab.client(client, *argv)  # the sender learns: over IPv6 the first may be lost
        assert lab.client(client, *argv)["errors"] == [], (client, port)


def hops(lab: Lab, host: str, version: int, *method: str) -> list[str]:
    """Return the addresses that traceroute prints, one for each hop."""
    argv = ["traceroute", f"-{version}", "-n", "-q", "1", "-w", "3", "-m", "8"]
    text = lab.exec(host, [*argv, *method, VIPS[version]], check=True).stdout
    return [line.split()[1] for line in text.splitlines()[1:]]


@both_families
@pytest.mark.parametrize(
    "method", [("-U", "-p", "8007"), ("-T", "-p", "8080")], ids=["udp", "tcp-syn"]
)
def test_traceroute_to_a_service_shows_each_hop_under_a_name_the_client_knows(
    lab: Lab, version: int, method: tuple[str, ...]
) -> None:
    """Switch, r3, r4, s2: what lies behind the VIP answers in its name."""
    found = hops(lab, "c1", version, *method)
    assert len(found) == 4, found
    assert found[0] in {SWITCH[version], VIPS[version]}
    assert set(found[1:]) == {VIPS[version]}


@both_families
def test_traceroute_by_echo_ends_at_the_switch(lab: Lab, version: int) -> None:
    found = hops(lab, "c1", version, "-I")
    assert found[-1] == VIPS[version]
    assert found[:-1] in ([], [SWITCH[version]])


@both_families
def test_traceroute_to_ports_without_a_virtual_server_is_refused_by_the_vip(
    lab: Lab, version: int
) -> None:
    found = hops(lab, "c1", version)
    assert found[-1] == VIPS[version]
    assert found[:-1] in ([], [SWITCH[version]])


@both_families
def test_the_clients_own_routers_are_seen_as_they_are(lab: Lab, version: int) -> None:
    r1, r2 = ({4: "10.0.1.2", 6: "2001:db8:1::2"}, {4: "10.0.4.1", 6: "2001:db8:4::1"})
    narrow = {4: "10.0.3.1", 6: "2001:db8:3::1"}
    found = hops(lab, "c2", version, "-T", "-p", "80")
    assert found[0] == r2[version]
    assert found[1] in {r1[version], narrow[version]}
    assert set(found[2:]) <= {SWITCH[version], VIPS[version]}
    assert found[-1] == VIPS[version]


@both_families
def test_one_packet_answers_larger_than_the_narrow_link(one_packet: Lab, version: int) -> None:
    """Each real server has to learn of the way to c2, from an error that names only the VIP."""
    lab = one_packet
    forget_path_mtus(lab)
    argv = ("udp", place(version, 7), "--sizes", ",".join(["1400"] * 6))
    lab.client("c2", *argv)  # each learns once (over IPv4 a router may help meanwhile)
    for server in ("s1", "s2"):
        client = str(NARROW.host("c2").ip_of_family(version))
        assert path_mtu(lab, server, client) == 1280, server
    assert lab.client("c2", *argv)["errors"] == []
    assert "one_packet" in reasons(lab)
