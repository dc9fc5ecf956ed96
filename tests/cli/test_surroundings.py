"""What a running switch says of its host, and when it says it again."""

from __future__ import annotations

import ipaddress

import pytest

from lb_switch.config.build import build
from lb_switch.config.load import validate
from lb_switch.config.schema import Config
from lb_switch.daemon.surroundings import Surroundings
from lb_switch.engine.changes import RemoveVirtualServer
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.servers import RealServer
from lb_switch.host import forwarding, view
from lb_switch.host.error import HostError
from lb_switch.host.view import HostInterface, HostView, Route

OWN = "10.0.1.1"


def host(*addresses: str) -> HostView:
    clients = HostInterface("eth0", 1500, tuple(map(ipaddress.ip_interface, addresses)))
    servers = HostInterface("eth1", 1500, (ipaddress.ip_interface("10.0.2.1/24"),))
    routes = (
        Route(ipaddress.ip_network("10.0.1.0/24"), ("eth0",)),
        Route(ipaddress.ip_network("10.0.2.0/24"), ("eth1",)),
    )
    return HostView((clients, servers), routes)


def config_of(*vips: str) -> Config:
    groups = [
        {"name": f"web{n}", "address": vip, "real_server": [{"address": "10.0.2.11:80"}]}
        for n, vip in enumerate(vips)
    ]
    return validate({"switch": {"take_own_addresses": True}, "virtual_server": groups})


def test_notes_are_told_once_and_again_when_they_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(f"{OWN}:80", "10.0.1.2:80")
    switch = build(config)
    first, second = switch.virtual_servers.values()
    told: list[str] = []
    looks: list[HostView] = []

    def read() -> HostView:
        looks.append(host(f"{OWN}/24"))
        return looks[-1]

    monkeypatch.setattr(view, "read", read)
    monkeypatch.setattr(forwarding, "run", lambda _argv: "")
    switch.change(RemoveVirtualServer(first), 0.0)
    surroundings = Surroundings(switch, "nfqueue", told.append)
    surroundings.look(config)
    assert told == []

    switch.add_virtual_server(first)
    surroundings.look_after_change(config)
    (note,) = told
    assert note.startswith(f"note: {OWN} is an address of this machine")
    surroundings.look_after_change(config)  # a weight or a state changed
    assert (len(told), len(looks)) == (1, 2)
    second.add(RealServer(Endpoint.parse("10.0.2.12:80")))
    surroundings.look_after_change(config)
    assert (len(told), len(looks)) == (1, 3)

    switch.change(RemoveVirtualServer(first), 0.0)
    surroundings.look_after_change(config)
    switch.add_virtual_server(first)
    surroundings.look_after_change(config)
    assert told == [note, note]


def test_the_switch_learns_the_addresses_of_its_host_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("10.0.1.100:80")
    switch = build(config)
    learnt: list[frozenset[bytes]] = []
    monkeypatch.setattr(switch, "note_host_addresses", learnt.append)
    surroundings = Surroundings(switch, "tun", lambda _line: None)
    for addresses in (("10.0.1.1/24",), ("10.0.1.1/24", "2001:db8::1/64")):
        monkeypatch.setattr(view, "read", lambda addresses=addresses: host(*addresses))
        surroundings.look_again(config)
    expected = [ipaddress.ip_address(each).packed for each in ("10.0.1.1", "2001:db8::1")]
    assert learnt[0] >= {expected[0]}
    assert learnt[1] >= set(expected)
    assert expected[1] not in learnt[0]


def test_a_host_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> HostView:
        raise HostError("ip: not found")

    config = config_of("10.0.1.100:80")
    told: list[str] = []
    monkeypatch.setattr(view, "read", read)
    Surroundings(build(config), "tun", told.append).look_again(config)
    assert told == ["cannot look at this host again: ip: not found"]
