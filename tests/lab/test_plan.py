"""The plan, checked as data: nothing is run."""

from collections import Counter
from dataclasses import replace

import pytest

from netns_lab.plan import Command, down_commands, inside, namespaces, up_commands
from netns_lab.topologies import (
    DUAL_STACK,
    NARROW,
    TEXTBOOK,
    TOPOLOGIES,
    Topology,
)

every_topology = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)


def matching(commands: list[Command], *words: str) -> list[Command]:
    """The commands that hold these words next to each other."""
    size = len(words)
    return [
        command
        for command in commands
        if any(command[at : at + size] == words for at in range(len(command)))
    ]


def netns_of(command: Command) -> str:
    """The namespace a command acts in."""
    return command[command.index("exec" if "exec" in command else "-n") + 1]


@every_topology
def test_every_namespace_is_made_once_and_removed_once(topology: Topology) -> None:
    made = [command[3] for command in matching(up_commands(topology, "x-"), "netns", "add")]
    removed = [command[3] for command in down_commands(namespaces(topology, "x-"))]
    assert sorted(made) == sorted(removed) == sorted({*made})
    assert made == ["x-switch", *(f"x-{machine.name}" for machine in topology.machines)]


@every_topology
def test_every_address_is_assigned_once_and_on_its_own_host(topology: Topology) -> None:
    commands = matching(up_commands(topology, "x-"), "address", "add")
    assigned = {(netns_of(each), each[each.index("add") + 1]) for each in commands}
    assert len(assigned) == len(commands)
    expected = {
        (f"x-{segment.gateway}", text)
        for segment in topology.segments
        for text in segment.gateway_addresses
    }
    for host in topology.machines:
        segment = topology.segment(host.segment)
        for ip in host.ips:
            interface = segment.interface_for(ip)
            assert interface is not None
            expected.add((f"x-{host.name}", f"{ip}/{interface.network.prefixlen}"))
    assert assigned == expected


@every_topology
def test_the_vip_is_nobodys_address(topology: Topology) -> None:
    text = " ".join(" ".join(command) for command in up_commands(topology, "x-"))
    assert topology.vips
    for vip in topology.vips:
        assert f" {vip}/" not in text


@every_topology
def test_a_namespace_exists_before_it_is_used(topology: Topology) -> None:
    existing: set[str] = set()
    for command in up_commands(topology, "x-"):
        if command[:3] == ("ip", "netns", "add"):
            existing.add(command[3])
        else:
            assert {word for word in command if word.startswith("x-")} <= existing, command


@every_topology
def test_every_host_has_one_cable_to_its_segment_and_a_default_route(topology: Topology) -> None:
    commands = up_commands(topology, "x-")
    for host in topology.machines:
        (cable,) = matching(commands, "link", "add", f"to-{host.name}")
        assert cable[-2:] == ("netns", f"x-{host.name}")
        assert matching(commands, "set", f"to-{host.name}", "master", host.segment, "up")
        routes = matching(commands, "-n", f"x-{host.name}", "route", "add", "default")
        gateways = [str(each.ip) for each in topology.segment(host.segment).interfaces]
        assert [route[-1] for route in routes] == gateways


def test_routes_come_after_the_interface_is_up() -> None:
    commands = [each for each in up_commands(DUAL_STACK, "x-") if "x-c1" in each]
    up = commands.index(("ip", "-n", "x-c1", "link", "set", "eth0", "up"))
    addresses = [at for at, each in enumerate(commands) if "address" in each]
    routes = [at for at, each in enumerate(commands) if "route" in each]
    assert max(addresses) < up < min(routes)
    assert len(addresses) == len(routes) == 2


def test_ipv6_settings_come_before_the_first_interface() -> None:
    commands = up_commands(DUAL_STACK, "x-")
    for netns in namespaces(DUAL_STACK, "x-"):
        settings = [
            at
            for at, each in enumerate(commands)
            if each[:4] == inside(netns)[:4] and "net.ipv6.conf.default.accept_dad=0" in each
        ]
        links = [
            at
            for at, each in enumerate(commands)
            if netns in each and each[3:5] == ("link", "add") and "type" in each
        ]
        assert len(settings) == 1
        assert all(settings[0] < at for at in links)


def test_offload_is_off_on_both_ends_of_a_cable_unless_wanted() -> None:
    off = Counter(
        (netns_of(each), each[-3]) for each in matching(up_commands(TEXTBOOK, "x-"), "tx", "off")
    )
    expected = [("x-switch", f"to-{host.name}") for host in TEXTBOOK.hosts]
    expected += [(f"x-{host.name}", "eth0") for host in TEXTBOOK.hosts]
    assert off == Counter(expected)
    assert not matching(up_commands(replace(TEXTBOOK, offload=True), "x-"), "tx", "off")


@every_topology
def test_only_the_switch_and_routers_forward(topology: Topology) -> None:
    commands = up_commands(topology, "x-")
    forwarding = [netns_of(each) for each in commands if "net.ipv4.ip_forward=1" in each]
    assert forwarding == ["x-switch", *(f"x-{router.name}" for router in topology.routers)]


def test_every_gateway_knows_the_way_to_what_lies_behind_a_router() -> None:
    commands = up_commands(NARROW, "x-")
    routes = {
        (netns_of(each), each[-3], each[-1])
        for each in matching(commands, "route", "add")
        if "default" not in each and "-4" in each
    }
    assert routes == {
        ("x-switch", "10.0.3.0/24", "10.0.1.2"),
        ("x-switch", "10.0.4.0/24", "10.0.1.2"),
        ("x-switch", "10.0.5.0/24", "10.0.2.2"),
        ("x-switch", "10.0.6.0/24", "10.0.2.2"),
        ("x-r1", "10.0.4.0/24", "10.0.3.2"),
        ("x-r3", "10.0.6.0/24", "10.0.5.2"),
    }
    assert len(matching(commands, "route", "add", "2001:db8:6::/64")) == 2


def test_two_labs_share_no_name_outside_their_namespaces() -> None:
    mine, yours = (set(namespaces(TEXTBOOK, prefix)) for prefix in ("a-", "b-"))
    assert not mine & yours
    for command in up_commands(TEXTBOOK, "a-"):
        # Each one names a namespace of the lab: nothing touches the machine's own.
        assert mine & set(command)


def test_the_mtu_of_a_segment_is_that_of_its_cables() -> None:
    clients = replace(TEXTBOOK.segments[0], mtu=1400)
    topology = replace(TEXTBOOK, segments=(clients, TEXTBOOK.segments[1]))
    commands = up_commands(topology, "x-")
    assert len(matching(commands, "mtu", "1400")) == 3  # the bridge, c1, c2
    (cable,) = matching(commands, "link", "add", "to-c1")
    assert cable.count("1400") == 2
