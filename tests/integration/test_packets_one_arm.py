"""Full NAT in one subnet: clients, real servers and the switch on the same wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff
from netns_lab.topologies import ONE_ARM, VirtualServer
from tests.support.witness import checksums_are_right, reasons, told

pytestmark = pytest.mark.netns

VIPS = {4: "10.0.1.100", 6: "2001:db8:1::100"}
SNAT = {4: "10.0.1.200", 6: "2001:db8:1::200"}
CLOSED = 9
"""A port of virtual servers whose real server has nobody there."""
both_families = pytest.mark.parametrize("version", [4, 6])


TOPOLOGY = replace(
    ONE_ARM,
    virtual_servers=(
        *ONE_ARM.virtual_servers,
        *(
            VirtualServer(
                f"closed{v}", VIPS[v], CLOSED, ("s1",), "udp", forward="full_nat", snat=SNAT[v]
            )
            for v in (4, 6)
        ),
    ),
)


@pytest.fixture(scope="module", params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(TOPOLOGY, capture=request.param, check_invariants=True) as made:
        yield made


def place(version: int, port: int) -> str:
    return f"[{VIPS[version]}]:{port}" if version == 6 else f"{VIPS[version]}:{port}"


@both_families
def test_a_thousand_requests_under_the_source_address_of_the_switch(lab: Lab, version: int) -> None:
    url = f"http://{place(version, 80)}/"
    result = lab.client("c1", "requests", url, "-n", "1000", "--parallel", "4", timeout=100)
    assert result["errors"] == []
    assert sorted(result["answers"].values()) == [333, 333, 334]
    assert [seen.strip("[]") for seen in result["clients_seen"]] == [SNAT[version]]


@both_families
def test_transfers_and_datagrams(lab: Lab, version: int) -> None:
    url = f"http://{place(version, 80)}/"
    assert lab.client("c2", "transfer", url, "--bytes", "3000000")["errors"] == []
    sizes = "1,1400,9000,60000"
    for client in ("c1", "c2"):
        assert lab.client(client, "udp", place(version, 7), "--sizes", sizes)["errors"] == []


@both_families
def test_a_closed_port_of_a_real_server_refuses_in_the_name_of_the_vip(
    lab: Lab, version: int
) -> None:
    """The error comes to the snat address, and quotes it."""
    with (
        sniff(lab, "c1", "icmp or icmp6") as seen,
        checksums_are_right(lab, "c1", "s1", expression=f"port {CLOSED} or icmp or icmp6"),
    ):
        result = lab.client("c1", "udp", place(version, CLOSED), "--sizes", "1,1400")
    assert len(result["errors"]) == 3
    assert all("ConnectionRefusedError" in error for error in result["errors"])
    lines = [line for line in told(lab, "c1", seen.path).splitlines() if "unreachable" in line]
    assert len(lines) == 3
    assert all(f" {VIPS[version]} > " in line for line in lines)


@both_families
def test_a_real_server_may_be_a_client(lab: Lab, version: int) -> None:
    """Itself among its choices."""
    result = lab.client("s1", "requests", f"http://{place(version, 80)}/", "-n", "6")
    assert (result["errors"], set(result["answers"])) == ([], {"s1", "s2", "s3"})


@both_families
def test_checksums_are_right_on_both_sides_and_nobody_is_redirected(lab: Lab, version: int) -> None:
    expression = "tcp or udp or icmp or icmp6"
    with (
        sniff(lab, "c1", "icmp or icmp6") as at_client,
        sniff(lab, "s1", "icmp or icmp6") as at_server,
        checksums_are_right(lab, "c1", "s1", "s2", "s3", expression=expression),
    ):
        url = f"http://{place(version, 80)}/"
        assert lab.client("c1", "requests", url, "-n", "9")["errors"] == []
        for _ in range(3):
            argv = ("udp", place(version, 7), "--sizes", "0,1,1400")
            assert lab.client("c1", *argv)["errors"] == []
        for host in ("c1", "s1"):  # the canary: the sniffers see ICMP
            lab.exec(host, ["ping", "-c", "1", VIPS[version]], check=True)
    for host, sniffer in (("c1", at_client), ("s1", at_server)):
        text = told(lab, host, sniffer.path)
        assert "echo reply" in text
        assert "redirect" not in text


@both_families
def test_the_service_addresses_refuse_what_is_of_no_connection(lab: Lab, version: int) -> None:
    """Both answer for themselves: nobody else has them."""
    before = reasons(lab).get("no_virtual_server", 0)
    snat = f"[{SNAT[version]}]" if version == 6 else SNAT[version]
    result = lab.client("s2", "requests", f"http://{snat}:4711/", "-n", "1")
    assert "ConnectionRefusedError" in result["errors"][0]
    assert lab.client("c1", "udp", place(version, 4711), "--sizes", "1")["errors"]
    assert reasons(lab)["no_virtual_server"] > before
    assert "1 received" in lab.exec("s1", ["ping", "-c", "1", SNAT[version]]).stdout


def test_plain_nat_in_one_arm_fails_and_start_and_doctor_say_what_to_set(
    make_lab: Callable[..., Lab],
) -> None:
    web = replace(ONE_ARM.virtual_servers[0], forward="nat", snat="")
    lab = make_lab(topology=replace(ONE_ARM, name="plain", virtual_servers=(web,)))
    url = f"http://{place(4, 80)}/"
    assert lab.client("c1", "requests", url, "-n", "1", "--timeout", "1")["errors"]
    complaint = (
        "web: clients in the real servers' own subnet (10.0.1.0/24) get the answers past the switch"
    )
    remedy = 'set forward = "full_nat"'
    assert f"note: {complaint}: {remedy}" in (lab.directory / "switch.log").read_text()
    doctor = lab.cli("doctor", str(lab.config_path))
    assert f"way back: {complaint} [fix: {remedy}]" in doctor.stdout
    lab.stop_switch()
    lab.topology = replace(ONE_ARM, name="cured")
    lab.start_switch()
    assert lab.client("c1", "requests", url, "-n", "3")["errors"] == []
    assert complaint not in lab.cli("doctor", str(lab.config_path)).stdout


def test_show_tells_full_nat(lab: Lab) -> None:
    assert "FullNAT" in lab.cli("show").stdout
    rows = json.loads(lab.cli("show", "--json").stdout)
    assert {server["forward"] for row in rows for server in row["real_servers"]} == {"full_nat"}
