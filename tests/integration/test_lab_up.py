"""`lb-switch lab up` and around it, as a user types it."""

from __future__ import annotations

import os
import pty
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab import lab as labs
from netns_lab.lab import Lab
from netns_lab.programs import lb_switch
from netns_lab.state import lab_directory
from netns_lab.topologies import TEXTBOOK
from netns_lab.topology import VirtualServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns
URL = "http://10.0.1.100/"


@pytest.fixture
def prefix() -> Iterator[str]:
    prefix = f"lbt{secrets.token_hex(3)}-"
    yield prefix
    labs.down(prefix)


def call(*arguments: str, code: int = 0) -> str:
    result = subprocess.run(
        [*lb_switch(), "lab", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == code, result.stderr
    return result.stdout + result.stderr


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_a_dead_server_leaves_and_all_is_explained_and_recorded(
    prefix: str, tmp_path: Path, capture: str
) -> None:
    recording, pcap = tmp_path / "rec.jsonl", tmp_path / "both.pcapng"
    options = ["--explain", "--record", str(recording), "--write-pcap", str(pcap)]
    shown = call("up", "--prefix", prefix, "--capture", capture, *options)
    log = lab_directory(prefix) / "switch.log"
    assert f"explained: tail -f {log}" in shown
    with_switch = ("exec", "--prefix", prefix, "switch", "--", *lb_switch())
    wait_until(lambda: "status 200" in call(*with_switch, "show", "health"), 20)
    labs.attach(prefix).kill_server("s1")
    wait_until(lambda: "down" in call(*with_switch, "show", "health"), 20)
    ask = ("exec", "--prefix", prefix, "c1", "curl", "-s", URL)
    answers = [call(*ask) for _ in range(4)]
    assert all('"s2"' in answer for answer in answers)
    call("down", "--prefix", prefix)
    assert "10.0.1.100:80" in recording.read_text()
    assert pcap.stat().st_size > 1000


def test_a_switch_that_was_started_by_hand_is_seen(prefix: str) -> None:
    shown = call("up", "--prefix", prefix, "--no-switch")
    config = lab_directory(prefix) / "switch.toml"
    command = f"sudo lb-switch lab exec --prefix {prefix} switch lb-switch run {config}"
    assert f"start it: {command}" in shown
    assert "the switch is not running" in shown
    run = [*lb_switch(), "lab", "exec", "--prefix", prefix, "switch", *lb_switch(), "run"]
    with subprocess.Popen([*run, str(config)], stdout=subprocess.PIPE, text=True) as switch:
        assert switch.stdout is not None
        while "serving" not in switch.stdout.readline():
            assert switch.poll() is None
        assert "a switch that was started by hand runs" in call("show", "--prefix", prefix)
        (line,) = [each for each in call("list").splitlines() if each.startswith(prefix)]
        assert "(by hand)" in line
        switch.terminate()
    assert switch.returncode == 0
    assert "the switch is not running" in call("show", "--prefix", prefix)


def test_show_on_the_host_names_the_labs_that_run(prefix: str, tmp_path: Path) -> None:
    call("up", "--prefix", prefix)
    argv = [*lb_switch(), "show", "--socket", str(tmp_path / "none")]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 1
    first, *others = result.stderr.splitlines()
    assert str(tmp_path / "none") in first
    command = f"sudo lb-switch lab exec --prefix {prefix} switch -- lb-switch show"
    assert f"lb-switch: a lab is up (textbook); ask its switch: {command}" in others


def test_options_of_a_switch_that_is_left_out_are_refused(prefix: str) -> None:
    said = call("up", "--prefix", prefix, "--no-switch", "--explain", code=2)
    assert "--explain is for the switch that --no-switch leaves out" in said


def test_a_topology_of_ones_own_is_drawn(prefix: str) -> None:
    from dataclasses import replace

    services = (VirtualServer("mine", "10.0.1.100", 8080, ("s1",), real_port=80),)
    topology = replace(TEXTBOOK, name="my-own", summary="of my own", virtual_servers=services)
    with Lab(topology, prefix, switch=False):
        shown = call("show", "--prefix", prefix)
    assert f"lab {prefix}, topology my-own:\nof my own\n" in shown
    assert "virtual server mine" in shown


def test_the_prompt_of_a_shell_names_the_host(prefix: str) -> None:
    call("up", "--prefix", prefix, "--no-switch")
    master, slave = pty.openpty()
    argv = [*lb_switch(), "lab", "exec", "--prefix", prefix, "c2", "bash"]
    shell = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, b"exit\n")
    seen, deadline = b"", time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            seen += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
    assert shell.wait(20) == 0
    os.close(master)
    assert b"c2:" in seen
