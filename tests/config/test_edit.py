"""Edits of a configuration, and the way to plain data and back."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from lb_switch.config import edit
from lb_switch.config.load import validate
from lb_switch.config.schema import Config
from lb_switch.engine.packet.endpoint import Endpoint

FULL = """
[switch]
capture = "nfqueue"
queue = 7
control_socket = "/run/x"
max_connections = 5
hash_key = "k"
unknown_tcp = "drop"
timeouts = { established = 5, udp = 2.5 }

[[virtual_server]]
name = "web"
address = "10.0.1.100:80"
scheduler = "mh"
hash_on = ["src_ip", "src_port"]
persistence_timeout = 60
on_down = "keep"
forward = "full_nat"
snat = ["10.0.2.100", "10.0.2.101"]
health_check = { kind = "http", path = "/x", expect_status = [200, 204], rise = 1 }
real_server = [{ address = "10.0.2.11:80", weight = 0 }, { address = "10.0.2.12:80" }]

[[virtual_server]]
name = "dns"
address = "[2001:db8::100]:53"
protocol = "udp"
"""

WEB, DNS = Endpoint.parse("10.0.1.100:80"), Endpoint.parse("[2001:db8::100]:53")
FIRST = Endpoint.parse("10.0.2.11:80")


@pytest.fixture
def config() -> Config:
    return validate(tomllib.loads(FULL))


@pytest.mark.parametrize("text", ["", FULL])
def test_plain_data_and_back(text: str) -> None:
    config = validate(tomllib.loads(text))
    assert validate(edit.as_data(config)) == config


def test_places(config: Config) -> None:
    assert edit.place_of(config, WEB, "tcp") == 0
    assert edit.place_of(config, DNS, "udp") == 1
    with pytest.raises(LookupError):
        edit.place_of(config, WEB, "udp")


def test_an_edit_leaves_the_old_configuration_alone(config: Config) -> None:
    edited = edit.set_weight(config, 0, FIRST, 9)
    assert config == validate(tomllib.loads(FULL))
    assert [rs.weight for rs in edited.virtual_server[0].real_server] == [9, 1]


def test_what_is_added_can_be_removed(config: Config) -> None:
    third: dict[str, Any] = {"address": "10.0.2.13:80", "weight": 2}
    more = edit.add_real_server(config, 0, third)
    assert str(more.virtual_server[0].real_server[2].address) == "10.0.2.13:80"
    assert edit.remove_real_server(more, 0, Endpoint.parse("10.0.2.13:80")) == config
    new = {"name": "new", "address": "10.0.1.101:80"}
    more = edit.add_virtual_server(config, new)
    assert [table.name for table in more.virtual_server] == ["web", "dns", "new"]
    assert edit.remove_virtual_server(more, 2) == config


def test_a_mistake_is_said_without_the_way_to_it(config: Config) -> None:
    with pytest.raises(edit.EditError) as caught:
        edit.add_real_server(config, 0, {"address": "10.0.1.100:80", "weight": -1})
    assert str(caught.value) == (
        "address: 10.0.1.100 is a VIP of this switch: packets would loop; "
        "weight: -1 must be at least 0"
    )
