"""doctor's SECURITY lines."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lb_switch.cli import security
from lb_switch.cli.finding import Finding
from lb_switch.config.build import build
from lb_switch.config.load import validate
from lb_switch.host import forwarding
from lb_switch.host.view import HostInterface, HostView, Route

CLIENTS = HostInterface("eth0", 1500, (ipaddress.ip_interface("10.0.1.1/24"),))
SERVERS = HostInterface("eth1", 1500, (ipaddress.ip_interface("10.0.2.1/24"),))
HOST = HostView(
    (CLIENTS, SERVERS),
    (
        Route(ipaddress.ip_network("10.0.1.0/24"), ("eth0",)),
        Route(ipaddress.ip_network("10.0.2.0/24"), ("eth1",)),
    ),
)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(security, "_CONF", tmp_path)
    monkeypatch.setattr(forwarding, "run", lambda _argv: "")
    monkeypatch.setenv("LB_SWITCH_SOCKET", str(tmp_path / "control.sock"))
    for name, mode in (("all", "0"), ("eth0", "1"), ("eth1", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rp_filter").write_text(mode)
    return tmp_path


def facts(
    host: HostView = HOST,
    capture: str = "tun",
    vip: str = "10.0.1.100:80",
    rip: str = "10.0.2.11:80",
    scheduler: str = "rr",
    **switch: object,
) -> dict[str, Finding]:
    group = {"name": "web", "address": vip, "scheduler": scheduler}
    config = validate(
        {"switch": switch, "virtual_server": [{**group, "real_server": [{"address": rip}]}]}
    )
    groups = build(config).virtual_servers.values()
    found = list(security.facts(config, capture, groups, host))
    assert all(each.what.startswith("SECURITY ") and not each.needed for each in found)
    return {each.what.removeprefix("SECURITY "): each for each in found}


def test_a_sound_host() -> None:
    found = facts()
    assert set(found) == {"reverse path filter", "control socket", "own answers a second"}
    assert all(each.ok for each in found.values())
    assert found["reverse path filter"].detail == "eth0 strict, eth1 loose"
    assert found["own answers a second"].detail == (
        "ICMP errors 1000, RSTs without limit, echo replies without limit"
    )


def test_the_larger_value_counts(quiet: Path) -> None:
    (quiet / "eth1" / "rp_filter").write_text("0")
    found = facts()["reverse path filter"]
    assert not found.ok
    assert found.detail == "eth0 strict, eth1 off; where it is off, any source address may come in"
    (quiet / "all" / "rp_filter").write_text("2")
    assert facts()["reverse path filter"].detail == "eth0 loose, eth1 loose"


def test_one_interface_for_both() -> None:
    found = facts(rip="10.0.1.11:80")["who speaks for a real server"]
    assert not found.ok
    assert found.detail.startswith("web: clients and real servers share eth0: whoever is there")


def test_what_the_configuration_asks_for() -> None:
    found = facts(scheduler="mh", unknown_tcp="schedule")
    assert not found["hash key"].ok
    assert not found['unknown_tcp = "schedule"'].ok
    assert "hash key" not in facts(scheduler="mh", hash_key="secret")


def test_nfqueue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "VIP" in facts(capture="nfqueue", vip="10.0.1.1:80")
    assert "VIP" not in facts(capture="tun", vip="10.0.1.1:80")
    rule = "-A FORWARD -d 10.0.1.100/32 -j DROP"
    monkeypatch.setattr(forwarding, "run", lambda _argv: rule)
    assert rule in facts(capture="nfqueue")["firewall"].detail
    assert "firewall" not in facts(capture="tun")


def test_the_folder_of_the_socket(quiet: Path) -> None:
    quiet.chmod(0o777)
    found = facts()["control socket"]
    assert (found.ok, found.detail) == (False, f"{quiet}: others may write there")
    os.environ["LB_SWITCH_SOCKET"] = str(quiet / "new" / "control.sock")
    assert "will be made for its owner only" in facts()["control socket"].detail


def test_learnt_routes() -> None:
    learnt = Route(ipaddress.ip_network("::/0"), ("eth0",), learnt=True)
    host = replace(HOST, routes=(*HOST.routes, learnt))
    name = "routes from router advertisements"
    found = facts(host, vip="[2001:db8::100]:80", rip="[2001:db8::11]:80")[name]
    assert (found.ok, found.detail) == (
        True,
        "kept on eth0 while this host is a router (accept_ra = 2)",
    )
    assert name not in facts(host)
