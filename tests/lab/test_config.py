"""The lab's configuration file says what the topology says, and the switch accepts it."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from netns_lab.config import switch_config
from netns_lab.topologies import DUAL_STACK, TEXTBOOK, TOPOLOGIES, Topology


def config_of(topology: Topology, capture: str = "tun", scheduler: str = "rr") -> str:
    return switch_config(
        topology,
        capture=capture,
        scheduler=scheduler,
        control_socket=Path("/run/lb-switch/lab-x/control.sock"),
    )


def test_the_textbook_configuration() -> None:
    data = tomllib.loads(config_of(TEXTBOOK, "nfqueue", "wlc"))
    assert data["switch"] == {
        "capture": "nfqueue",
        "control_socket": "/run/lb-switch/lab-x/control.sock",
    }
    web, secure = data["virtual_server"]
    assert (web["address"], web["protocol"], web["scheduler"]) == ("10.0.1.100:80", "tcp", "wlc")
    assert [each["address"] for each in web["real_server"]] == ["10.0.2.11:80", "10.0.2.12:80"]
    assert [each["address"] for each in secure["real_server"]] == ["10.0.2.12:443", "10.0.2.13:443"]
    assert web["health_check"] == secure["health_check"] == {"kind": "none"}


def test_it_knows_the_hosts_by_name() -> None:
    hosts = tomllib.loads(config_of(DUAL_STACK))["hosts"]
    assert hosts["c1"] == ["10.0.1.11", "2001:db8:1::11"]
    assert hosts["switch"] == ["10.0.1.1", "2001:db8:1::1", "10.0.2.1", "2001:db8:2::1"]
    assert set(hosts) == {"switch", *(host.name for host in DUAL_STACK.hosts)}


def test_an_ipv6_virtual_server_gets_ipv6_real_servers() -> None:
    data = tomllib.loads(config_of(DUAL_STACK))
    web6 = next(each for each in data["virtual_server"] if each["name"] == "web6")
    assert web6["address"] == "[2001:db8:1::100]:80"
    assert [each["address"] for each in web6["real_server"]] == [
        "[2001:db8:2::11]:80",
        "[2001:db8:2::12]:80",
    ]


def test_forward_check_and_real_port_are_the_virtual_servers_own() -> None:
    web = replace(
        TEXTBOOK.virtual_servers[0], forward="full_nat", check="http", port=8080, real_port=80
    )
    data = tomllib.loads(config_of(replace(TEXTBOOK, virtual_servers=(web,))))
    (table,) = data["virtual_server"]
    assert (table["forward"], table["address"]) == ("full_nat", "10.0.1.100:8080")
    assert table["health_check"] == {
        "kind": "http",
        "interval": 1.0,
        "timeout": 1.0,
        "rise": 2,
        "fall": 2,
    }
    assert [each["address"] for each in table["real_server"]] == ["10.0.2.11:80", "10.0.2.12:80"]


def test_options_are_written_only_where_they_are_not_as_by_default() -> None:
    plain = TEXTBOOK.virtual_servers[0]
    full = replace(plain, name="full", port=81, forward="full_nat", snat="10.0.2.100")
    sticky = replace(plain, name="b", port=82, persistence_timeout=300, persistence_prefix=24)
    single = replace(plain, name="c", protocol="udp", one_packet=True)
    topology = replace(TEXTBOOK, virtual_servers=(plain, full, sticky, single))
    tables = tomllib.loads(config_of(topology))["virtual_server"]
    options = [
        {
            key: table[key]
            for key in ("snat", "persistence_timeout", "persistence_prefix", "one_packet")
            if key in table
        }
        for table in tables
    ]
    assert options == [
        {},
        {"snat": "10.0.2.100"},
        {"persistence_timeout": 300, "persistence_prefix": 24},
        {"one_packet": True},
    ]


def test_further_keys_of_the_switch() -> None:
    text = switch_config(
        TEXTBOOK,
        capture="tun",
        scheduler="rr",
        control_socket=Path("/run/x.sock"),
        options={"max_half_open_per_source": 10, "unknown_tcp": "drop"},
    )
    switch = tomllib.loads(text)["switch"]
    assert (switch["max_half_open_per_source"], switch["unknown_tcp"]) == (10, "drop")


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_the_switch_accepts_it(topology: Topology, capture: str, tmp_path: Path) -> None:
    from lb_switch.config.load import load

    path = tmp_path / "switch.toml"
    path.write_text(config_of(topology, capture, "mh"))
    assert len(load(path).virtual_server) == len(topology.virtual_servers)
