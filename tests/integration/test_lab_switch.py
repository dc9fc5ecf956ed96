"""Real clients and real servers with the real switch between them, under both captures."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from netns_lab import lab as labs
from netns_lab.lab import Lab, LabError
from netns_lab.sniff import sniff

pytestmark = pytest.mark.netns

VIP = "10.0.1.100"
CAPTURES = ("tun", "nfqueue")


@pytest.fixture(scope="module", params=CAPTURES)
def balanced(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The echo lab, its switch running, once for each capture."""
    from netns_lab.topologies import ECHO_LAB

    with Lab(ECHO_LAB, capture=request.param, check_invariants=True) as lab:
        yield lab


def test_three_hundred_connections_at_once(balanced: Lab) -> None:
    """The first test of the lab: no port of the client's is in use, so none clashes."""
    result = balanced.client("c1", "connections", f"http://{VIP}/", "-n", "300")
    assert result["errors"] == []
    assert (result["held"], result["moved"]) == (300, 0)
    assert result["answers"] == {"s1": 150, "s2": 150}


@pytest.mark.parametrize("client", ["c1", "c2"])
@pytest.mark.parametrize(
    ("url", "group"), [(f"http://{VIP}/", {"s1", "s2"}), (f"https://{VIP}/", {"s2", "s3"})]
)
def test_round_robin_shares_new_connections_evenly(
    balanced: Lab, client: str, url: str, group: set[str]
) -> None:
    result = balanced.client(client, "requests", url, "-n", "10")
    assert result["errors"] == []
    assert result["answers"] == dict.fromkeys(group, 5)
    assert result["clients_seen"] == list(balanced.topology.host(client).addresses)


def test_requests_of_one_connection_stay_with_their_server(balanced: Lab) -> None:
    result = balanced.client("c1", "requests", f"http://{VIP}/", "-n", "20", "--keep-alive")
    assert list(result["answers"].values()) == [20]


def test_transfers_arrive_unharmed(balanced: Lab) -> None:
    for url in (f"http://{VIP}/", f"https://{VIP}/"):
        assert balanced.client("c2", "transfer", url, "--bytes", "3000000")["errors"] == []


def test_udp_echo_of_small_and_of_fragmented_datagrams(balanced: Lab) -> None:
    result = balanced.client("c1", "udp", f"{VIP}:7", "--sizes", "1,512,1472,1473,8000")
    assert result["errors"] == []
    assert result["server"] in {"s1", "s2", "s3"}


def test_checksums_are_right_on_both_sides(balanced: Lab) -> None:
    with (
        sniff(balanced, "c1", f"host {VIP}") as at_client,
        sniff(balanced, "s1", "tcp port 80 and host 10.0.1.11") as at_s1,
        sniff(balanced, "s2", "tcp port 80 and host 10.0.1.11") as at_s2,
    ):
        balanced.client("c1", "requests", f"http://{VIP}/", "-n", "4")
        balanced.client("c1", "transfer", f"http://{VIP}/", "--bytes", "100000")
    at_servers = at_s1.packets + at_s2.packets
    assert len(at_client.packets) == len(at_servers) > 100
    for seen in at_client.packets + at_servers:
        assert seen.ip_checksum_ok
        assert seen.l4_checksum_ok
    assert {str(seen.destination) for seen in at_servers} >= {"10.0.2.11", "10.0.2.12"}
    assert VIP not in {str(seen.destination) for seen in at_servers}


def test_the_switch_is_one_hop_for_its_connections(balanced: Lab) -> None:
    with sniff(balanced, "c1", f"tcp and src {VIP}") as seen:
        balanced.client("c1", "requests", f"http://{VIP}/", "-n", "2")
    assert {packet.ttl for packet in seen.packets} == {63}


def test_direct_traffic_to_the_servers_is_left_alone(balanced: Lab) -> None:
    result = balanced.client("c1", "requests", "http://10.0.2.12/", "-n", "5")
    assert (result["answers"], result["errors"]) == ({"s2": 5}, [])
    assert balanced.client("c2", "udp", "10.0.2.13:7", "--sizes", "1,2000")["errors"] == []


SAME_PORT = """
import http.client, socket, sys
def ask(address, port):
    connection = http.client.HTTPConnection(address)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.sock.settimeout(5)
    connection.sock.bind(("0.0.0.0", port))
    connection.sock.connect((address, 80))
    connection.request("GET", "/")
    answer = connection.getresponse().read()
    connection.close()
    return answer
vip, rip = sys.argv[1:]
port = next(port for port in range(20000, 20010) if b'"s2"' in ask(vip, port))
print(b'"s2"' in ask(rip, port))
"""


def test_direct_traffic_from_a_port_just_used_with_the_vip_is_left_alone(balanced: Lab) -> None:
    """The kernel of the client may choose the same port, as the destination is another one."""
    argv = [sys.executable, "-c", SAME_PORT, VIP, "10.0.2.12"]
    result = balanced.exec("c1", argv)
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_a_port_without_a_virtual_server_is_refused(balanced: Lab) -> None:
    result = balanced.client("c1", "requests", f"http://{VIP}:81/", "-n", "1")
    assert len(result["errors"]) == 1
    assert "refused" in result["errors"][0]


def test_lab_exec_and_the_command_line_find_this_labs_switch(
    balanced: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    assert labs.exec_in(balanced.prefix, "c1", ["curl", "-sSf", f"http://{VIP}/"]) == 0
    assert '"server": "s' in capfd.readouterr().out
    shown = balanced.cli("show")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{VIP}:80" in shown.stdout
    (summary,) = [each for each in labs.list_labs() if each.prefix == balanced.prefix]
    assert summary.capture == balanced.capture
    assert summary.switch_pid is not None


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_the_switch_can_be_started_again(
    make_lab: Callable[..., Lab], capture: str, how: signal.Signals
) -> None:
    lab = make_lab(capture=capture)
    url = f"http://{VIP}/"
    assert lab.client("c1", "requests", url, "-n", "2")["errors"] == []
    (summary,) = [each for each in labs.list_labs() if each.prefix == lab.prefix]
    if how == signal.SIGKILL:
        assert summary.switch_pid is not None
        os.kill(summary.switch_pid, how)
    lab.stop_switch()
    assert lab.client("c1", "requests", url, "-n", "1", "--timeout", "1")["errors"]
    lab.start_switch()
    result = lab.client("c1", "requests", url, "-n", "4")
    assert (result["errors"], result["answers"]) == ([], {"s1": 2, "s2": 2})


def test_the_capture_and_the_scheduler_can_be_changed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(capture="tun", scheduler="rr")
    lab.stop_switch()
    lab.start_switch(capture="nfqueue", scheduler="sh")
    result = lab.client("c1", "requests", f"http://{VIP}/", "-n", "6")
    assert list(result["answers"].values()) == [6]
    assert "rr" not in lab.cli("show").stdout.split()


def test_two_labs_balance_side_by_side(make_lab: Callable[..., Lab]) -> None:
    first, second = make_lab(capture="tun"), make_lab(capture="nfqueue")
    for lab in (first, second):
        result = lab.client("c1", "requests", f"http://{VIP}/", "-n", "4")
        assert result["answers"] == {"s1": 2, "s2": 2}
    first.down()
    assert second.client("c1", "requests", f"http://{VIP}/", "-n", "4")["errors"] == []


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.lab(topology="dual-stack", switch=False)
def test_both_address_families(lab: Lab, capture: str) -> None:
    lab.start_switch(capture=capture)
    for host in (VIP, "[2001:db8:1::100]"):
        web = lab.client("c1", "requests", f"http://{host}/", "-n", "4")
        assert (web["errors"], web["answers"]) == ([], {"s1": 2, "s2": 2})
        secure = lab.client("c2", "requests", f"https://{host}/", "-n", "4")
        assert (secure["errors"], secure["answers"]) == ([], {"s2": 2, "s3": 2})
        assert lab.client("c1", "transfer", f"http://{host}/")["errors"] == []
        assert lab.client("c1", "udp", f"{host}:7", "--sizes", "1,1400")["errors"] == []


def test_a_switch_that_fails_on_the_way_fails_the_lab() -> None:
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(check_invariants=True))
        assert lab.client("c1", "requests", f"http://{VIP}/", "-n", "2")["errors"] == []
        lab.exec("switch", ["ip", "link", "del", "lbtun"], check=True)
        with pytest.raises(LabError, match=r"the switch failed: .*lbtun is gone"):
            stack.close()
    assert lab.prefix not in [each.prefix for each in labs.list_labs()]


def test_a_switch_that_cannot_start_is_quoted_and_leaves_no_lab() -> None:
    lab = Lab(scheduler="rrr")
    with pytest.raises(LabError, match=r"the switch did not start: .*rrr"):
        lab.up()
    assert lab.prefix not in [each.prefix for each in labs.list_labs()]
