"""The fuzzer's frame: seeds from captures, and a run of two seconds where atheris is there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import wrpcap

from lb_switch.engine.verdict import Reason
from tests.fuzz.campaign import seeds
from tests.fuzz.world import run


def test_the_packets_of_a_capture_become_inputs(tmp_path: Path) -> None:
    ping = IP(src="10.0.1.11", dst="10.0.1.100") / ICMP() / b"ping"
    wrpcap(str(tmp_path / "a.pcap"), [Ether() / ping, Ether() / ARP(), Ether() / ping])
    (tmp_path / "b.pcap").write_bytes(b"not a capture")
    (tmp_path / "c").write_bytes(b"an input")
    first, second, third = seeds(tmp_path)
    assert first == second
    assert third == b"an input"
    assert run(first).reasons == {Reason.ECHO_TO_VIP: 1}


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the extra fuzz")
def test_two_seconds(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.fuzz.campaign", "2", "--keep", str(tmp_path)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = re.match(r"fuzz: ([\d,]+) packets in ([\d,]+) inputs, \d+ s: no finding", ended.stdout)
    assert report is not None, ended.stdout
    assert int(report[1].replace(",", "")) > 100
