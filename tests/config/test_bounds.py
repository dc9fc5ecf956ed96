"""Files that are made to be too much: refused in one clear line, in little time and memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from lb_switch.config import load as reading
from lb_switch.config.build import build
from lb_switch.config.load import ConfigError, load
from lb_switch.engine.switch import Switch

SECONDS = 4.0
"""Generous: the slowest of them takes half a second on a quiet machine."""
MEGABYTES = 200

GROUP = """
[[virtual_server]]
name = "web"
address = "10.0.1.100:80"
  [virtual_server.health_check]
  kind = "tcp"
  interval = {interval}
  [[virtual_server.real_server]]
  address = "10.0.2.11:80"
"""
GOOD = GROUP.format(interval="1.0")


def lines_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.thread_time()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert time.thread_time() - begin < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10
    assert all(len(line) < 700 for line in caught.value.lines)
    return [line.replace(str(path), "FILE") for line in caught.value.lines]


DEEP = 20_000
DOTTED = ".".join("a" * DEEP)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"[switch]\nmax_connections = {'9' * 5000}\n",
            "FILE: line 2: a number has too many digits",
        ),
        (
            f"[switch]\nmax_connections = {'9' * 4000}\n",
            "switch.max_connections: a number of more than 100 digits must be at most 1000000000",
        ),
        (
            f"[switch.timeouts]\nudp = {'9' * 400}\n",
            "switch.timeouts.udp: a number of more than 100 digits is not a number",
        ),
        (f"{DOTTED} = 1\n", "FILE: line 1: a key of more than 32 parts"),
        (f"[{DOTTED}]\n", "FILE: line 1: a key of more than 32 parts"),
        (f"\nx = {{{DOTTED} = 1}}\n", "FILE: line 2: a key of more than 32 parts"),
        (
            f"{DOTTED.replace('a', chr(34) + 'a' + chr(34))} = 1\n",
            "FILE: line 1: a key of more than 32 parts",
        ),
        (f"x = {'[' * DEEP}{']' * DEEP}\n", "FILE: tables or lists are nested too deeply"),
        (f"x = {'{a=' * DEEP}1{'}' * DEEP}\n", "FILE: tables or lists are nested too deeply"),
        (
            "[switch.timeouts]\nestablished = 1e308\n",
            "switch.timeouts.established: 1e+308 must be at most 1e+09",
        ),
        ("[switch.timeouts]\nudp = inf\n", "switch.timeouts.udp: inf is not a finite number"),
        ("[switch.timeouts]\nudp = nan\n", "switch.timeouts.udp: nan is not a finite number"),
        (f"# {'x' * reading.MAX_BYTES}\n", "FILE: is larger than 8 MiB"),
    ],
)
def test_one_clear_line(tmp_path: Path, text: str, line: str) -> None:
    assert lines_of(tmp_path / "c.toml", text + GOOD) == [line]


def test_probes_cannot_be_asked_for_without_a_pause(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "c.toml", GROUP.format(interval="1e-9")) == [
        "virtual_server[0].health_check.interval: 1e-09 must be at least 0.01"
    ]


def test_twenty_thousand_unknown_keys(tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "c.toml", "".join(f"k{n} = 1\n" for n in range(20_000)) + GOOD)
    assert lines[0] == "k0: unknown key; known here: switch, virtual_server, hosts"
    assert len(lines) == 101
    assert lines[-1] == "and 19,900 more"


def test_long_keys_and_values_are_cut(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path / "c.toml", "k" * 1_000_000 + " = 1\n" + GOOD)
    assert line.endswith("unknown key; known here: switch, virtual_server, hosts")
    (line,) = lines_of(tmp_path / "c.toml", f'[switch]\ncapture = "{"k" * 1_000_000}"\n' + GOOD)
    assert line.startswith("switch.capture: 'kkk")


def built(path: Path, groups: int, servers: int) -> Switch:
    text = ""
    for group in range(groups):
        vip = f"10.{group >> 8}.{group & 255}.1:80"
        text += f'[[virtual_server]]\nname = "v{group}"\naddress = "{vip}"\n'
        for server in range(servers):
            address = f"172.16.{server >> 8}.{server & 255}:80"
            text += f'[[virtual_server.real_server]]\naddress = "{address}"\n'
    path.write_text(text)
    begin = time.thread_time()
    switch = build(load(path))
    assert time.thread_time() - begin < SECONDS
    return switch


def test_many_servers_take_time_in_proportion(tmp_path: Path) -> None:
    many_groups = built(tmp_path / "c.toml", 10_000, 1)
    assert len(many_groups.virtual_servers) == 10_000
    many_servers = built(tmp_path / "c.toml", 1, 10_000)
    assert len(many_servers.virtual_servers["v0"].usable_servers) == 10_000
