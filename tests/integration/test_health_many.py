"""200 real servers, as addresses of one namespace, checked every second; a third never answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.integration.health_bed import accepting, running
from tests.integration.health_view import Seen
from tests.support.rig import Rig, built

INTERVAL, TIMEOUT, RISE, FALL = 1.0, 0.5, 2, 2
START = 1.0
"""First probes are spread over a second."""
MARGIN = 0.5
SERVERS = [f"10.0.2.{n}" for n in range(20, 220)]
HOLES = SERVERS[::3]
OTHER_HOLES = SERVERS[1::3]

pytestmark = pytest.mark.netns

CONFIG = f"""
[[virtual_server]]
name = "web"
address = "10.0.1.100:80"

  [virtual_server.health_check]
  kind = "tcp"
  interval = {INTERVAL}
  timeout = {TIMEOUT}
  rise = {RISE}
  fall = {FALL}
""" + "".join(f'\n  [[virtual_server.real_server]]\n  address = "{ip}:80"\n' for ip in SERVERS)


def swallow(rig: Rig, ips: Iterable[str]) -> None:
    """Let exactly these addresses answer nothing at all, from one moment to the next."""
    rules = "".join(f"-A INPUT -d {ip} -p tcp -j DROP\n" for ip in ips)
    subprocess.run(
        ["ip", "netns", "exec", rig.server, "iptables-restore"],
        input=f"*filter\n:INPUT ACCEPT\n{rules}COMMIT\n",
        text=True,
        check=True,
    )


def key(ip: str) -> str:
    return f"web {ip}:80"


def latest(seen: Mapping[str, Seen], ips: Iterable[str], begin: float) -> list[float]:
    """Return how long after `begin` these servers' present states began, sorted."""
    return sorted(seen[key(ip)].since - begin for ip in ips)


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_each_transition_is_on_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], capture: str
) -> None:
    with built(tmp_path) as rig:
        batch = "".join(f"addr add {ip}/24 dev eth0\n" for ip in SERVERS)
        subprocess.run(["ip", "-n", rig.server, "-b", "-"], input=batch, text=True, check=True)
        swallow(rig, HOLES)
        listener = rig.listen("0.0.0.0", 80)
        listener.listen(1024)
        with listener, accepting(listener), running(rig, CONFIG, capture) as view:
            begin = time.monotonic()
            healthy = set(SERVERS) - set(HOLES)

            def settled(seen: Mapping[str, Seen]) -> bool:
                states = {ip: seen[key(ip)].state for ip in SERVERS}
                return all(s == ("up" if ip in healthy else "down") for ip, s in states.items())

            first = view.until(settled)
            learnt = latest(first, SERVERS, begin)
            assert {first[key(ip)].cause for ip in HOLES} == {f"timeout after {TIMEOUT} s"}

            healthy = set(SERVERS) - set(OTHER_HOLES)
            changed = time.monotonic()
            swallow(rig, OTHER_HOLES)
            swapped = time.monotonic()
            second = view.until(settled)
            fell = latest(second, OTHER_HOLES, changed)
            rose = latest(second, HOLES, swapped)
            untouched = set(SERVERS) - set(HOLES) - set(OTHER_HOLES)
            # Long enough for another round of everybody: those that answer are left alone.
            view.until(lambda _seen: time.monotonic() > swapped + 3 * INTERVAL)
            third = view.health()
    with capsys.disabled():
        print(
            f"\n  200 servers, 67 black holes, {capture}: all known after {learnt[-1]:.2f} s (at"
            f" most {START + TIMEOUT:.1f} + margin); down after {fell[0]:.2f} to {fell[-1]:.2f} s"
            f" (at most {INTERVAL * FALL + TIMEOUT:.1f} + margin); up after {rose[0]:.2f} to"
            f" {rose[-1]:.2f} s (at most {INTERVAL * RISE:.1f} + margin)"
        )
    assert learnt[-1] < START + TIMEOUT + MARGIN
    assert fell[-1] < INTERVAL * FALL + TIMEOUT + MARGIN
    assert fell[0] > INTERVAL * (FALL - 1), "one failure is not enough"
    assert rose[-1] < INTERVAL * RISE + MARGIN
    for ip in untouched:
        assert third[key(ip)].since == pytest.approx(first[key(ip)].since, abs=0.1), ip
