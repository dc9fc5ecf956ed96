"""Probes under the captures' own rules: they work, and are never taken for clients' traffic."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.health_bed import accepting, running
from tests.integration.health_view import Seen, View
from tests.support.rig import CLIENT, SERVERS, SERVERS6, VIP, VIP6, Rig, built

VIP_AMONG_SERVERS = "10.0.2.100"

pytestmark = pytest.mark.netns


def virtual_server(kind: str, vip: str, servers: tuple[str, ...], options: str = "") -> str:
    def endpoint(ip: str, port: int) -> str:
        return f'"[{ip}]:{port}"' if ":" in ip else f'"{ip}:{port}"'

    port = {"icmp": 80, "tcp": 81, "http": 82}[kind]
    return f"""
[[virtual_server]]
name = "{kind}{6 if ":" in vip else 4}"
address = {endpoint(vip, port)}
{options}
  [virtual_server.health_check]
  kind = "{kind}"
  interval = 0.05
  timeout = 5.0
  fall = 1
""" + "".join(
        f"  [[virtual_server.real_server]]\n  address = {endpoint(ip, 8080)}\n" for ip in servers
    )


def all_kinds(vip: str, servers: tuple[str, ...], options: str = "") -> str:
    return "".join(virtual_server(kind, vip, servers, options) for kind in ("icmp", "tcp", "http"))


def make_local(rig: Rig, vip: str, device: str) -> None:
    rig.run(rig.switch, "ip", "addr", "add", f"{vip}/32", "dev", device)


@pytest.mark.parametrize(
    ("capture", "case"),
    [
        *itertools.product(
            ("tun", "nfqueue"),
            ("VIP among the clients", "VIP among the servers", "full NAT", "IPv6"),
        ),
        ("nfqueue", "VIP is local"),  # which TUN refuses
    ],
)
def test_probes_pass_and_are_not_counted(tmp_path: Path, capture: str, case: str) -> None:
    vip, servers, options = VIP, SERVERS, ""
    if case == "IPv6":
        vip, servers = VIP6, SERVERS6
    elif case == "VIP among the servers":
        vip = VIP_AMONG_SERVERS
    elif case == "full NAT":
        vip, options = VIP_AMONG_SERVERS, 'forward = "full_nat"'
    with built(tmp_path) as rig, contextlib.ExitStack() as stack:
        if case == "VIP is local":
            make_local(rig, vip, "cli0")
            make_local(rig, vip, "srv0")
        listeners = [stack.enter_context(rig.listen(ip)) for ip in servers]
        stack.enter_context(accepting(*listeners))
        text = all_kinds(vip, servers, options)
        if case == "VIP is local":
            text = f"take_own_addresses = true\n{text}"  # still in [switch]
        view = stack.enter_context(running(rig, text, capture))
        seen = probed_often(view)
        assert {each.state for each in seen.values()} == {"up"}
        assert {each.finding for each in seen.values()} == {
            "echo reply",
            "connected",
            "status 200",
        }
        stats = view.stats()
        assert (stats["connections"], view.connections_so_far()) == (0, 0)
        # What else the namespaces say on their own (neighbours, routers) is not ours to count.
        reasons = {reason for reason, count in stats["packets"].items() if count}
        assert reasons <= {"not_for_the_switch"}
        assert stats["packets"]["not_for_the_switch"] < 10
        # The same addresses and ports, from a client: this is counted.
        with rig.connect(vip, 81):
            view.until(lambda _seen: view.connections_so_far() == 1)
        assert view.stats()["packets"]["new_connection"] == 1
        assert {each.state for each in probed_often(view).values()} == {"up"}
        assert view.connections_so_far() == 1


def probed_often(view: View, rounds: int = 20) -> dict[str, Seen]:
    """Wait for that many new results of every check; return the last."""
    news = dict.fromkeys(view.health(), 0)
    ages: dict[str, float] = {}

    def often_enough(seen: object) -> bool:
        for name, age in view.result_times().items():
            if abs(age - ages.get(name, 0.0)) > 0.02:
                news[name] += 1
                ages[name] = age
        return min(news.values()) > rounds

    return dict(view.until(often_enough))


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_a_real_server_that_is_gone_is_seen_through_the_captures_rules(
    tmp_path: Path, capture: str
) -> None:
    """The switch's own ICMP errors about probes are nobody's business but the prober's."""
    with built(tmp_path) as rig, contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(rig.listen(ip)) for ip in SERVERS]
        stack.enter_context(accepting(*listeners))
        config = all_kinds(VIP, SERVERS).replace("timeout = 5.0", "timeout = 0.3")
        view = stack.enter_context(running(rig, config, capture))
        view.until(lambda seen: {each.state for each in seen.values()} == {"up"})
        rig.run(rig.server, "ip", "addr", "del", f"{SERVERS[1]}/24", "dev", "eth0")

        def second_is_down(seen: Mapping[str, Seen]) -> bool:
            return all(
                each.state == ("down" if SERVERS[1] in name else "up")
                for name, each in seen.items()
            )

        seen = view.until(second_is_down)
        causes = {each.cause for name, each in seen.items() if SERVERS[1] in name}
        assert causes <= {"timeout after 0.3 s", "no route to host"}
        assert view.stats()["connections"] == 0
        with rig.connect(VIP, 81) as client:
            assert client.getsockname()[0] == CLIENT
