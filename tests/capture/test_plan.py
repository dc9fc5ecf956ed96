"""The plan: which changes the host needs, as values; nothing runs here."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.host.error import HostError
from lb_switch.host.plan import (
    MAX_EXACT_RULES,
    free_address,
    free_table,
    plan_nfqueue,
    plan_tun,
)
from lb_switch.host.services import Service
from lb_switch.host.steps import FilterChain, HostChange, Step, Sysctl
from lb_switch.host.view import HostInterface, HostView, Route

LO = HostInterface("lo", 65536, (ipaddress.ip_interface("127.0.0.1/8"),))
CLI = HostInterface(
    "cli0", 1500, (ipaddress.ip_interface("10.0.1.1/24"), ipaddress.ip_interface("fd00:1::1/64"))
)
SRV = HostInterface(
    "srv0", 1400, (ipaddress.ip_interface("10.0.2.1/24"), ipaddress.ip_interface("fd00:2::1/64"))
)


def route(prefix: str, *devices: str, metric: int = 0, mtu: int = 0) -> Route:
    return Route(ipaddress.ip_network(prefix), devices, mtu, metric)


HOST = HostView(
    (LO, CLI, SRV),
    (
        route("10.0.1.0/24", "cli0"),
        route("10.0.2.0/24", "srv0"),
        route("fd00:1::/64", "cli0"),
        route("fd00:2::/64", "srv0"),
    ),
)


def service(vip: str, *real_servers: str, protocol: int = 6) -> Service:
    return Service(Endpoint.parse(vip), protocol, tuple(map(Endpoint.parse, real_servers)))


WEB = service("10.0.1.100:80", "10.0.2.11:8080", "10.0.2.12:8080")
WEB6 = service("[fd00:1::100]:80", "[fd00:2::11]:8080")


def tun(*services: Service, host: HostView = HOST) -> tuple[Step, ...]:
    return plan_tun(services, host, "lbtun", "169.254.76.1", 7450)


def nfqueue(
    *services: Service, host: HostView = HOST, own_addresses: bool = False
) -> tuple[Step, ...]:
    return plan_nfqueue(services, host, 100, own_addresses=own_addresses)


NO_GROUPS = (
    "-m pkttype --pkt-type broadcast -j RETURN",
    "-m pkttype --pkt-type multicast -j RETURN",
)


def commands(steps: tuple[Step, ...], *start: str) -> list[str]:
    """The commands that begin with these words, each as one text."""
    return [
        " ".join(s.do) for s in steps if isinstance(s, HostChange) and s.do[: len(start)] == start
    ]


def sysctls(steps: tuple[Step, ...]) -> dict[str, str]:
    return {s.path: s.value for s in steps if isinstance(s, Sysctl)}


def chain(steps: tuple[Step, ...], program: str, table: str) -> FilterChain:
    (found,) = (
        s for s in steps if isinstance(s, FilterChain) and (s.program, s.table) == (program, table)
    )
    return found


def test_tun_routes_vips_and_replies_to_the_device() -> None:
    steps = tun(WEB)
    assert commands(steps, "ip", "-4", "route") == [
        "ip -4 route replace default dev lbtun table 7450 src 10.0.1.1 mtu 1500 proto 176",
        "ip -4 route replace 10.0.1.100/32 dev lbtun src 10.0.1.1 mtu 1400 proto 176",
    ]
    assert commands(steps, "ip", "-4", "rule") == [
        "ip -4 rule add iif lo to 10.0.2.0/24 lookup main priority 50 protocol 176",
        "ip -4 rule add iif lo ipproto 1 lookup 7450 priority 51 protocol 176",
        "ip -4 rule add from 10.0.2.11/32 iif srv0 lookup 7450 priority 52 protocol 176",
        "ip -4 rule add from 10.0.2.12/32 iif srv0 lookup 7450 priority 52 protocol 176",
        "ip -4 rule add iif srv0 ipproto 1 lookup 7450 priority 53 protocol 176",
    ]


def test_every_rule_of_tun_names_the_interface_it_is_for() -> None:
    """Without iif a passed packet would match again and circle."""
    rules = commands(tun(WEB, WEB6), "ip", "-4", "rule") + commands(
        tun(WEB, WEB6), "ip", "-6", "rule"
    )
    assert len(rules) == 9
    assert all(" iif " in rule for rule in rules)


def test_the_vips_come_last_so_that_nothing_arrives_before_the_rest_stands() -> None:
    steps = tun(WEB)
    assert isinstance(steps[-1], HostChange)
    assert steps[-1].do[:4] == ("ip", "neigh", "add", "proxy")
    last_rule = max(n for n, s in enumerate(steps) if isinstance(s, HostChange) and "rule" in s.do)
    vip_route = next(
        n for n, s in enumerate(steps) if isinstance(s, HostChange) and "10.0.1.100/32" in s.do
    )
    assert last_rule < vip_route


def test_sysctls_of_tun() -> None:
    assert sysctls(tun(WEB)) == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/cli0/rp_filter": "2",
        "net/ipv4/conf/srv0/rp_filter": "2",
        "net/ipv4/conf/lbtun/rp_filter": "2",
        "net/ipv4/conf/lbtun/accept_local": "1",
        "net/ipv6/conf/lbtun/addr_gen_mode": "1",
        "net/ipv6/conf/lbtun/disable_ipv6": "1",
        "net/ipv4/neigh/cli0/proxy_delay": "0",
    }


def test_what_enabling_forwarding_overwrites_is_remembered() -> None:
    (forwarding,) = (s for s in tun(WEB) if s.slot == "sysctl net/ipv4/ip_forward")
    assert isinstance(forwarding, Sysctl)
    assert forwarding.overwrites == (
        ("net/ipv4/conf/default/forwarding", "1"),
        ("net/ipv4/conf/lo/forwarding", "1"),
        ("net/ipv4/conf/cli0/forwarding", "1"),
        ("net/ipv4/conf/srv0/forwarding", "1"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
    )


@pytest.mark.parametrize("plan", [tun, nfqueue])
def test_routes_learnt_from_advertisements_are_kept(plan: object) -> None:
    """Before the host becomes a router, or it forgets them; so they are taken back after that."""
    assert callable(plan)
    learnt = Route(ipaddress.ip_network("::/0"), ("cli0",), learnt=True)
    host = replace(HOST, routes=(*HOST.routes, learnt))
    paths = [step.path for step in plan(WEB6, host=host) if isinstance(step, Sysctl)]
    assert paths[:2] == ["net/ipv6/conf/cli0/accept_ra", "net/ipv6/conf/all/forwarding"]
    assert not [path for path in sysctls(plan(WEB6)) if "accept_ra" in path]
    assert not [path for path in sysctls(plan(WEB, host=host)) if "accept_ra" in path]


def test_ipv6_on_tun() -> None:
    steps = tun(WEB6)
    assert sysctls(steps)["net/ipv6/conf/lbtun/disable_ipv6"] == "0"
    assert sysctls(steps)["net/ipv6/conf/all/proxy_ndp"] == "1"
    assert sysctls(steps)["net/ipv6/conf/cli0/proxy_ndp"] == "1"
    assert commands(steps, "ip", "-4", "rule") == []
    assert commands(steps, "ip", "-6", "route")[1] == (
        "ip -6 route replace fd00:1::100/128 dev lbtun src fd00:1::1 mtu 1400 proto 176"
    )
    assert "ip -6 rule add iif srv0 ipproto 58 lookup 7450 priority 53 protocol 176" in commands(
        steps, "ip", "-6", "rule"
    )


def test_many_real_servers_need_few_rules() -> None:
    many = [f"10.0.2.{2 * n + 3}:80" for n in range(MAX_EXACT_RULES + 1)]
    few = commands(tun(service("10.0.1.100:80", *many[:-1])), "ip", "-4", "rule", "add", "from")
    assert len(few) == MAX_EXACT_RULES
    assert commands(tun(service("10.0.1.100:80", *many)), "ip", "-4", "rule", "add", "from") == [
        "ip -4 rule add from 10.0.2.0/24 iif srv0 lookup 7450 priority 52 protocol 176"
    ]


def test_real_servers_behind_the_default_route_are_named_one_by_one() -> None:
    """Clients lie there too."""
    host = replace(HOST, routes=(*HOST.routes, route("0.0.0.0/0", "cli0")))
    rules = commands(tun(service("10.0.1.100:80", "192.0.2.1:80"), host=host), "ip", "-4", "rule")
    assert rules[0].startswith("ip -4 rule add iif lo to 192.0.2.1/32 lookup main")
    assert rules[2].startswith("ip -4 rule add from 192.0.2.1/32 iif cli0")


def test_a_multipath_route_brings_replies_by_each_of_its_interfaces() -> None:
    other = HostInterface("srv1", 1300, (ipaddress.ip_interface("10.0.3.1/24"),))
    host = replace(
        HOST,
        interfaces=(*HOST.interfaces, other),
        routes=(*HOST.routes, route("10.9.0.0/16", "srv0", "srv1")),
    )
    steps = tun(service("10.0.1.100:80", "10.9.1.1:80"), host=host)
    froms = commands(steps, "ip", "-4", "rule", "add", "from")
    assert [rule.split()[7] for rule in froms] == ["srv0", "srv1"]
    assert " mtu 1300 " in commands(steps, "ip", "-4", "route", "replace", "10.0.1.100/32")[0]


def test_a_vip_outside_connected_subnets_gets_no_proxy_neighbour() -> None:
    steps = tun(service("203.0.113.1:80", "10.0.2.11:80"))
    assert commands(steps, "ip", "neigh") == []
    assert len(commands(steps, "ip", "-4", "route", "replace", "203.0.113.1/32")) == 1
    assert commands(nfqueue(service("203.0.113.1:80", "10.0.2.11:80")), "ip") == []


def test_nfqueue_rules() -> None:
    udp = service("10.0.1.100:53", "10.0.2.11:53", protocol=17)
    steps = nfqueue(WEB, udp)
    into = chain(steps, "iptables", "raw")
    assert into.built_in == "PREROUTING"
    assert into.rules == (
        *NO_GROUPS,
        "! -i srv0 -s 10.0.2.11/32 -j MARK --set-mark 0x4c46",
        "! -i srv0 -s 10.0.2.12/32 -j MARK --set-mark 0x4c46",
        "-d 10.0.1.100 -m ttl --ttl-lt 2 -j RETURN",
        "-d 10.0.1.100 -j NFQUEUE --queue-num 100",
    )
    out = chain(steps, "iptables", "mangle")
    assert out.built_in == "POSTROUTING"
    bypass = "-j NFQUEUE --queue-num 100 --queue-bypass"
    assert out.rules == (
        "-m mark --mark 0x4c42 -j RETURN",
        "-m mark --mark 0x4c46 -j RETURN",
        "-o srv0 -p icmp -m icmp --icmp-type 5 -j DROP",
        f"-s 10.0.2.11 -p tcp -m tcp --sport 8080 {bypass}",
        f"-s 10.0.2.12 -p tcp -m tcp --sport 8080 {bypass}",
        f"-s 10.0.2.11 -p udp -m udp --sport 53 {bypass}",
        f'-s 10.0.2.11 -m u32 --u32 "4&0x3fff=0x2000" {bypass}',
        f"-s 10.0.2.11 -f {bypass}",
        f'-s 10.0.2.12 -m u32 --u32 "4&0x3fff=0x2000" {bypass}',
        f"-s 10.0.2.12 -f {bypass}",
        f"-p icmp -m icmp --icmp-type 3 {bypass}",
        f"-p icmp -m icmp --icmp-type 11 {bypass}",
        f"-p icmp -m icmp --icmp-type 12 {bypass}",
    )


def test_nfqueue_routes_a_connected_ipv4_vip_to_lo_for_the_kernel_to_answer_arp() -> None:
    assert commands(nfqueue(WEB, WEB6), "ip") == [
        "ip -4 route replace 10.0.1.100/32 dev lo proto 176",
        "ip neigh add proxy 10.0.1.100 dev cli0 protocol 176",
        "ip neigh add proxy fd00:1::100 dev cli0 protocol 176",
    ]


def test_a_local_vip_needs_neither_with_nfqueue_and_is_refused_by_tun() -> None:
    local = service("10.0.1.1:80", "10.0.2.11:80")
    assert commands(nfqueue(local, own_addresses=True), "ip") == []
    assert chain(nfqueue(local, own_addresses=True), "iptables", "raw").rules[-2:] == (
        "! -i srv0 -s 10.0.2.11/32 -j MARK --set-mark 0x4c46",
        "-d 10.0.1.1 -j NFQUEUE --queue-num 100",
    )
    with pytest.raises(HostError, match=r"10\.0\.1\.1 .* take_own_addresses = true"):
        nfqueue(local)
    with pytest.raises(HostError, match=r"10\.0\.1\.1 is an address of this machine"):
        tun(local)


ONE_ARM = WEB._replace(snats=(ipaddress.ip_address("10.0.2.100"),))


def test_full_nat_on_tun_routes_the_snat_address_and_only_forged_answers_need_rules() -> None:
    steps = tun(ONE_ARM)
    answers = "to 10.0.2.100"
    assert commands(steps, "ip", "-4") == [
        f"ip -4 rule add from 10.0.2.11/32 {answers} iif srv0 lookup main priority 50 protocol 176",
        f"ip -4 rule add from 10.0.2.11/32 {answers} iif lo lookup main priority 50 protocol 176",
        f"ip -4 rule add from 10.0.2.11/32 {answers} blackhole priority 51 protocol 176",
        f"ip -4 rule add from 10.0.2.12/32 {answers} iif srv0 lookup main priority 50 protocol 176",
        f"ip -4 rule add from 10.0.2.12/32 {answers} iif lo lookup main priority 50 protocol 176",
        f"ip -4 rule add from 10.0.2.12/32 {answers} blackhole priority 51 protocol 176",
        "ip -4 route replace 10.0.1.100/32 dev lbtun src 10.0.1.1 mtu 1400 proto 176",
        "ip -4 route replace 10.0.2.100/32 dev lbtun src 10.0.2.1 mtu 1400 proto 176",
    ]
    assert commands(steps, "ip", "neigh") == [
        "ip neigh add proxy 10.0.1.100 dev cli0 protocol 176",
        "ip neigh add proxy 10.0.2.100 dev srv0 protocol 176",
    ]


def test_each_of_several_snat_addresses_is_captured() -> None:
    second = ipaddress.ip_address("10.0.2.101")
    several = ONE_ARM._replace(snats=(*ONE_ARM.snats, second))
    assert commands(tun(several), "ip", "-4")[-1] == (
        "ip -4 route replace 10.0.2.101/32 dev lbtun src 10.0.2.1 mtu 1400 proto 176"
    )
    assert commands(tun(several), "ip", "neigh")[1:] == [
        "ip neigh add proxy 10.0.2.100 dev srv0 protocol 176",
        "ip neigh add proxy 10.0.2.101 dev srv0 protocol 176",
    ]
    assert chain(nfqueue(several), "iptables", "raw").rules[-2:] == (
        "-d 10.0.2.100 -j NFQUEUE --queue-num 100",
        "-d 10.0.2.101 -j NFQUEUE --queue-num 100",
    )
    local = several._replace(snats=(second, ipaddress.ip_address("10.0.2.1")))
    for plan in (tun, nfqueue):
        with pytest.raises(HostError, match=r"snat 10\.0\.2\.1 is an address of this machine"):
            plan(local)


def test_full_nat_on_nfqueue_queues_replies_by_their_destination() -> None:
    steps = nfqueue(ONE_ARM)
    assert chain(steps, "iptables", "raw").rules == (
        *NO_GROUPS,
        "! -i srv0 -s 10.0.2.11/32 -j MARK --set-mark 0x4c46",
        "! -i srv0 -s 10.0.2.12/32 -j MARK --set-mark 0x4c46",
        "-m mark --mark 0x4c46 -d 10.0.2.100 -j DROP",
        "-d 10.0.1.100 -m ttl --ttl-lt 2 -j RETURN",
        "-d 10.0.2.100 -m ttl --ttl-lt 2 -j RETURN",
        "-d 10.0.1.100 -j NFQUEUE --queue-num 100",
        "-d 10.0.2.100 -j NFQUEUE --queue-num 100",
    )
    queued = [rule for rule in chain(steps, "iptables", "mangle").rules if "NFQUEUE" in rule]
    assert len(queued) == 3
    assert all("icmp" in rule for rule in queued)
    assert sysctls(steps)["net/ipv4/conf/srv0/rp_filter"] == "2"
    assert "net/ipv4/conf/srv0/rp_filter" not in sysctls(nfqueue(WEB))


def test_real_servers_behind_two_interfaces_may_speak_from_both() -> None:
    ways = route("10.0.2.0/24", "srv0", "srv1")
    host = replace(HOST, routes=(HOST.routes[0], ways, *HOST.routes[2:]))
    one = service("10.0.1.100:80", "10.0.2.11:80")
    assert chain(nfqueue(one, host=host), "iptables", "raw").rules[2:5] == (
        "-s 10.0.2.11/32 -j MARK --set-mark 0x4c46",
        "-i srv0 -s 10.0.2.11/32 -j MARK --set-mark 0",
        "-i srv1 -s 10.0.2.11/32 -j MARK --set-mark 0",
    )


def test_the_vip_may_be_the_snat_address() -> None:
    vip = WEB._replace(snats=(WEB.vip.ip,))
    queued = [rule for rule in chain(nfqueue(vip), "iptables", "raw").rules if "NFQUEUE" in rule]
    assert queued == ["-d 10.0.1.100 -j NFQUEUE --queue-num 100"]


@pytest.mark.parametrize("plan", [tun, nfqueue])
def test_a_local_snat_address_is_refused(plan: object) -> None:
    assert callable(plan)
    with pytest.raises(HostError, match=r"snat 10\.0\.2\.1 is an address of this machine"):
        plan(WEB._replace(snats=(ipaddress.ip_address("10.0.2.1"),)))


def test_a_chain_is_made_filled_and_hooked_in_one_commit_and_removed_whole() -> None:
    into = chain(nfqueue(WEB6), "ip6tables", "raw")
    assert into.do == ("ip6tables-restore", "--noflush")
    assert into.content(jump=True) == (
        "*raw\n"
        ":LB-SWITCH-PRE - [0:0]\n"
        "-A LB-SWITCH-PRE -m pkttype --pkt-type broadcast -j RETURN\n"
        "-A LB-SWITCH-PRE -m pkttype --pkt-type multicast -j RETURN\n"
        "-A LB-SWITCH-PRE ! -i srv0 -s fd00:2::11/128 -j MARK --set-mark 0x4c46\n"
        "-A LB-SWITCH-PRE -d fd00:1::100 -m hl --hl-lt 2 -j RETURN\n"
        "-A LB-SWITCH-PRE -d fd00:1::100 -j NFQUEUE --queue-num 100\n"
        "-A PREROUTING -j LB-SWITCH-PRE\n"
        "COMMIT\n"
    )
    assert "PREROUTING" not in into.content(jump=False)
    assert [" ".join(argv) for argv in into.undo] == [
        "ip6tables -w -t raw -D PREROUTING -j LB-SWITCH-PRE",
        "ip6tables -w -t raw -F LB-SWITCH-PRE",
        "ip6tables -w -t raw -X LB-SWITCH-PRE",
    ]


def test_a_proxy_neighbour_that_the_host_has_already_is_left_alone() -> None:
    host = replace(HOST, proxies=frozenset({(ipaddress.ip_address("10.0.1.100"), "cli0")}))
    assert commands(tun(WEB, host=host), "ip", "neigh") == []


@pytest.mark.parametrize("plan", [tun, nfqueue])
@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (service("10.0.1.100:80", "10.0.1.100:81"), "is a VIP of this switch: a loop"),
        (service("10.0.1.101:80", "10.0.1.100:81"), "is a VIP of this switch: a loop"),
        (service("10.0.1.101:80", "192.0.2.1:81"), "no route to real server 192.0.2.1"),
        (service("10.0.1.101:80", "10.0.2.1:81"), "is this machine itself"),
    ],
)
def test_impossible_real_servers_are_refused(plan: object, bad: Service, complaint: str) -> None:
    assert callable(plan)
    with pytest.raises(HostError, match=complaint):
        plan(WEB, bad)


@pytest.mark.parametrize("plan", [tun, nfqueue])
def test_a_route_of_somebody_else_is_never_replaced(plan: object) -> None:
    host = replace(HOST, routes=(*HOST.routes, route("10.0.1.100/32", "srv0")))
    assert callable(plan)
    with pytest.raises(HostError, match=r"there is a route to 10\.0\.1\.100 already"):
        plan(WEB, host=host)


def test_steps_that_differ_in_content_only_share_their_slot() -> None:
    """So a live change replaces a route in place, never leaving a gap."""
    before, after = (
        tun(WEB),
        tun(WEB, host=replace(HOST, interfaces=(LO, CLI, replace(SRV, mtu=1280)))),
    )
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][0].slot == changed[0][1].slot == "route 10.0.1.100"


def test_free_numbers() -> None:
    assert free_table(HOST) == 7450
    assert free_table(replace(HOST, tables=frozenset({"main", "7450", "7451"}))) == 7452
    taken = HostInterface("x", 1500, (ipaddress.ip_interface("169.254.76.1/16"),))
    assert free_address(HOST) == "169.254.76.1"
    assert free_address(replace(HOST, interfaces=(taken,))) == "169.254.76.2"
