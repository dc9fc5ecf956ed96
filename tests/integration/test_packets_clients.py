"""Clients that come back, clients that reuse their ports, clients that never finish."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import DUAL_STACK, TEXTBOOK, Topology
from tests.support.waiting import wait_until
from tests.support.witness import reasons

pytestmark = pytest.mark.netns

captures = pytest.mark.parametrize("capture", ["tun", "nfqueue"])
VIP, VIP6 = "10.0.1.100", "[2001:db8:1::100]"
URL, URL6 = f"http://{VIP}/", f"http://{VIP6}/"
MakeLab = Callable[..., Lab]


def python(lab: Lab, host: str, code: str, *arguments: str) -> str:
    argv = ["python", "-c", textwrap.dedent(code), *arguments]
    return lab.exec(host, argv, check=True, timeout=90).stdout


def servers_of(lab: Lab, client: str, url: str, count: int = 6) -> set[str]:
    result = lab.client(client, "requests", url, "-n", str(count))
    assert result["errors"] == []
    return set(result["answers"])


# --- persistence ------------------------------------------------------------------------------


def persistent(
    prefix4: int = 0, prefix6: int = 0, check: Literal["none", "tcp"] = "none"
) -> Topology:
    return replace(
        DUAL_STACK,
        name="persistent",
        virtual_servers=tuple(
            replace(
                each,
                persistence_timeout=300,
                persistence_prefix=prefix4 if each.ip.version == 4 else prefix6,
                check=check,
            )
            for each in DUAL_STACK.virtual_servers
            if each.name in {"web", "web6"}
        ),
    )


@captures
def test_a_client_comes_back_to_its_server(make_lab: MakeLab, capture: str) -> None:
    lab = make_lab(topology=persistent(), capture=capture)
    for url in (URL, URL6):
        mine, yours = servers_of(lab, "c1", url), servers_of(lab, "c2", url)
        assert len(mine) == len(yours) == 1
        assert mine != yours, "round robin gave each client its own"
    assert "persistent 300" in lab.cli("show").stdout


@captures
def test_a_network_of_clients_counts_as_one(make_lab: MakeLab, capture: str) -> None:
    lab = make_lab(topology=persistent(24, 64), capture=capture)
    for url in (URL, URL6):
        assert len(servers_of(lab, "c1", url) | servers_of(lab, "c2", url)) == 1
    shown = lab.cli("show").stdout
    assert "persistent 300 mask 255.255.255.0" in shown
    assert "persistent 300 mask 64" in shown


@captures
def test_a_drained_server_is_forced_on_nobody(make_lab: MakeLab, capture: str) -> None:
    lab = make_lab(topology=persistent(), capture=capture)
    (mine,) = servers_of(lab, "c1", URL)
    address = f"{lab.topology.host(mine).ip_of_family(4)}:80"
    lab.cli("set", f"{VIP}:80", address, "--state", "drain")
    (other,) = servers_of(lab, "c1", URL)
    assert other != mine
    lab.cli("set", f"{VIP}:80", address, "--state", "ready")
    assert servers_of(lab, "c1", URL) == {other}, "and stays where it went"


def test_a_server_that_is_down_is_forced_on_nobody(make_lab: MakeLab) -> None:
    lab = make_lab(topology=persistent(check="tcp"), check_interval=0.2)
    (mine,) = servers_of(lab, "c1", URL)
    lab.kill_server(mine)
    down = f"{lab.topology.host(mine).ip_of_family(4)}:80"

    def is_down() -> bool:
        rows = json.loads(lab.cli("show", "--json").stdout)
        return any(
            server["address"] == down and not server["healthy"]
            for row in rows
            for server in row["real_servers"]
        )

    wait_until(is_down)
    assert servers_of(lab, "c1", URL).isdisjoint({mine})


# --- port reuse -------------------------------------------------------------------------------

FEW_PORTS = """
    import json, socket, sys
    host, count = sys.argv[1], int(sys.argv[2])
    ports, servers = set(), set()
    for _ in range(count):
        with socket.create_connection((host, 80), timeout=5) as connection:
            ports.add(connection.getsockname()[1])
            connection.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
        servers.add(json.loads(answer.partition(b"\\r\\n\\r\\n")[2])["server"])
    print(json.dumps([len(ports), sorted(servers)]))
"""


@captures
@pytest.mark.parametrize("vip", [VIP, VIP6.strip("[]")], ids=["v4", "v6"])
def test_a_client_with_few_ports_reuses_them_at_once(
    make_lab: MakeLab, capture: str, vip: str
) -> None:
    """The server closes first, so the client's ports are free while the switch is in TIME_WAIT."""
    lab = make_lab(topology=DUAL_STACK, capture=capture)
    ports = "net.ipv4.ip_local_port_range=40000 40007"
    lab.exec("c1", ["sysctl", "-qw", ports], check=True)
    used, servers = json.loads(python(lab, "c1", FEW_PORTS, vip, "300"))
    assert used <= 8
    assert servers == ["s1", "s2"]
    counted = reasons(lab)
    assert counted["new_connection"] + counted["port_reuse"] == 300
    assert counted["port_reuse"] >= 292


# --- half-open connections --------------------------------------------------------------------

SYNS = """
    import socket, sys
    from scapy.all import Ether, IP, IPv6, TCP, raw
    source, vip, gateway, count = sys.argv[1:]
    layer = IPv6 if ":" in vip else IP
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for port in range(10000, 10000 + int(count)):
            packet = layer(src=source, dst=vip) / TCP(sport=port, dport=80, flags="S", seq=port)
            wire.send(raw(Ether(dst=gateway) / packet))
"""


def flood(lab: Lab, source: str, vip: str, count: int) -> None:
    """Send SYNs that nobody will complete, from an address that nobody has."""
    link = json.loads(lab.exec("switch", ["ip", "-j", "link", "show", "clients"]).stdout)
    python(lab, "c2", SYNS, source, vip, link[0]["address"], str(count))


@captures
@pytest.mark.parametrize(
    ("vip", "attacker"),
    [(VIP, "10.0.1.77"), (VIP6.strip("[]"), "2001:db8:1::77")],
    ids=["v4", "v6"],
)
def test_half_open_connections_of_one_source_are_limited(
    make_lab: MakeLab, capture: str, vip: str, attacker: str
) -> None:
    lab = make_lab(
        topology=DUAL_STACK, capture=capture, switch_options={"max_half_open_per_source": 10}
    )
    flood(lab, attacker, vip, 500)
    wait_until(lambda: reasons(lab).get("half_open_limit") == 490)
    stats = json.loads(lab.cli("show", "stats", "--json").stdout)
    assert stats["half_open"] == 10
    url = URL6 if ":" in vip else URL
    assert lab.client("c1", "requests", url, "-n", "50")["errors"] == []
    assert reasons(lab)["half_open_limit"] == 490, "others are not counted with the attacker"


@captures
def test_half_open_connections_give_way_in_a_full_table(make_lab: MakeLab, capture: str) -> None:
    """Established connections stay; new clients are served while the flood goes on."""
    lab = make_lab(topology=TEXTBOOK, capture=capture, switch_options={"max_connections": 100})
    with lab.popen("c1", ["python", "-c", textwrap.dedent(HELD)], stdin=-1, stdout=-1) as held:
        assert held.stdout is not None
        assert held.stdin is not None
        assert held.stdout.readline() == b"40 held\n"
        flood(lab, "10.0.1.77", VIP, 1000)
        wait_until(lambda: reasons(lab).get("new_connection", 0) >= 1040)
        assert lab.client("c2", "requests", URL, "-n", "20")["errors"] == []
        held.stdin.write(b"go\n")
        held.stdin.flush()
        assert held.stdout.readline() == b"40 answered\n"
        held.stdin.close()
        held.wait(10)
    stats = json.loads(lab.cli("show", "stats", "--json").stdout)
    assert stats["connections"] <= 100


HELD = """
    import socket, sys
    ask = b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
    held = [socket.create_connection(("10.0.1.100", 80), timeout=5) for _ in range(40)]
    for connection in held:
        connection.sendall(ask)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    print(len(held), "held", flush=True)
    sys.stdin.readline()
    answered = 0
    for connection in held:
        connection.sendall(ask)
        answered += connection.recv(65536).startswith(b"HTTP/1.1 200")
    print(answered, "answered", flush=True)
"""
