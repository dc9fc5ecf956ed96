"""The network of a lab, with the switch as a plain router: what balancing stands on."""

import re
from collections.abc import Callable

import pytest

from netns_lab.lab import Lab
from netns_lab.sniff import sniff

pytestmark = [pytest.mark.netns, pytest.mark.lab(topology="dual-stack", switch=False)]


@pytest.mark.parametrize("client", ["c1", "c2"])
@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://10.0.2.11/", "s1"),
        ("http://10.0.2.12/", "s2"),
        ("https://10.0.2.12/", "s2"),
        ("https://10.0.2.13/", "s3"),
        ("http://[2001:db8:2::11]/", "s1"),
        ("https://[2001:db8:2::13]/", "s3"),
    ],
)
def test_every_client_reaches_every_service_under_its_own_address(
    module_lab: Lab, client: str, url: str, server: str
) -> None:
    result = module_lab.client(client, "requests", url, "-n", "2")
    assert result["answers"] == {server: 2}
    version = 6 if "[" in url else 4
    own = module_lab.topology.host(client).ip_of_family(version)
    assert [each.strip("[]") for each in result["clients_seen"]] == [str(own)]


def test_echo_over_both_protocols(module_lab: Lab) -> None:
    for endpoint in ("10.0.2.13:7", "[2001:db8:2::13]:7"):
        result = module_lab.client("c1", "udp", endpoint, "--sizes", "1,1452,1473,20000")
        assert result == {"server": "s3", "echoed": [1, 1452, 1473, 20000], "errors": []}


def test_the_switch_is_one_hop(module_lab: Lab) -> None:
    argv = ["ping", "-c", "1", "-n", "10.0.2.11"]
    assert "ttl=63" in module_lab.exec("c1", argv, check=True).stdout


def test_every_packet_on_every_wire_has_its_real_checksum(module_lab: Lab) -> None:
    """Both tcpdump and our own arithmetic say so."""
    with (
        sniff(module_lab, "c1", "tcp port 80") as at_client,
        sniff(module_lab, "s1", "tcp port 80") as at_server,
        sniff(module_lab, "switch", "tcp port 80", interface="clients") as at_switch,
    ):
        module_lab.client("c1", "transfer", "http://10.0.2.11/", "--bytes", "200000")
    for seen in (at_client, at_server, at_switch):
        assert len(seen.packets) > 200  # no segmentation offload: each has at most the MTU
        assert all(each.ip_checksum_ok and each.l4_checksum_ok for each in seen.packets)
    judged = module_lab.exec(
        "c1", ["sh", "-c", f"tcpdump -vv -n -r {module_lab.directory}/sniff-c1-eth0-*.pcap"]
    )
    assert len(re.findall(r"cksum 0x[0-9a-f]+ \(correct\)", judged.stdout)) > 200
    assert "incorrect" not in judged.stdout


def test_a_sniffer_sees_the_same_packets_on_both_sides(module_lab: Lab) -> None:
    with (
        sniff(module_lab, "c2", "udp port 7") as at_client,
        sniff(module_lab, "s2", "udp port 7") as at_server,
    ):
        module_lab.client("c2", "udp", "[2001:db8:2::12]:7", "--sizes", "100")
    assert len(at_client.packets) == 4
    for here, there in zip(at_client.packets, at_server.packets, strict=True):
        assert (here.source, here.destination_port) == (there.source, there.destination_port)
        assert here.payload == there.payload
        assert abs(here.ttl - there.ttl) == 1
        assert here.l4_checksum_ok
        assert there.l4_checksum_ok


def test_nobody_has_the_vip(module_lab: Lab) -> None:
    """The canary for every test behind the switch: without it, the VIP is silent."""
    result = module_lab.client("c1", "requests", "http://10.0.1.100/", "-n", "1", "--timeout", "1")
    assert result["answers"] == {}
    assert len(result["errors"]) == 1


def test_bulk_labs_keep_their_offload(make_lab: Callable[..., Lab]) -> None:
    from dataclasses import replace

    from netns_lab.topologies import TEXTBOOK

    lab = make_lab(topology=replace(TEXTBOOK, name="bulk", offload=True), switch=False)
    features = lab.exec("c1", ["ethtool", "-k", "eth0"], check=True).stdout
    assert "tx-checksumming: on" in features
    assert "tcp-segmentation-offload: on" in features
