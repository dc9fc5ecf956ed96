"""`lb-switch replay`: a recording in, verdicts and a recording out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap, wrpcap

from tests.cli.conftest import Run
from tests.support.pipes import expect_silence_without_a_reader


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    syn = ethernet / IP(src="10.0.1.11", dst="10.0.1.100") / TCP(sport=40000, dport=80, flags="S")
    stray = ethernet / IP(src="10.0.1.11", dst="10.0.9.9") / TCP(sport=1, dport=2, flags="S")
    syn.time, stray.time = 100.0, 100.5
    wrpcap(str(path), [syn, stray])
    return path


def test_json_lines(run: Run, config: Path, recording: Path) -> None:
    result = run("replay", config, recording, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second, summary = map(json.loads, result.stdout.splitlines())
    assert first == {
        "n": 1,
        "time": 100.0,
        "verdict": "forward",
        "reason": "new_connection",
        "virtual_server": "web",
        "real_server": "10.0.2.11:8080",
        "direction": "original",
        "state": "SYN_RECV",
    }
    assert (second["verdict"], second["reason"], second["virtual_server"]) == (
        "pass",
        "not_for_the_switch",
        None,
    )
    assert list(summary) == ["summary"]
    assert summary["summary"]["new_connection"] == 1


def test_text(run: Run, config: Path, recording: Path) -> None:
    result = run("replay", config, recording)
    assert result.stdout == (
        "     1  forward  new_connection        web original 10.0.2.11:8080 SYN_RECV\n"
        "     2  pass     not_for_the_switch\n"
        "Packets     2\n"
        "             1  new_connection\n"
        "             1  not_for_the_switch\n"
    )


def test_what_leaves_the_switch_is_written(
    run: Run, config: Path, recording: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.pcap"
    assert run("replay", config, recording, "-w", out).exit_code == 0
    (packet,) = rdpcap(str(out))
    assert (packet[IP].dst, packet[TCP].dport, packet.time) == ("10.0.2.11", 8080, 100.0)


def test_errors_are_one_line(run: Run, config: Path, recording: Path, tmp_path: Path) -> None:
    missing = run("replay", config, tmp_path / "no.pcap")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("lb-switch: ")
    assert missing.stderr.count("\n") == 1
    garbage = tmp_path / "garbage.pcap"
    garbage.write_bytes(b"not a capture")
    result = run("replay", config, garbage)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    same = run("replay", config, recording, "-w", recording)
    assert same.exit_code == 1
    assert "is an input of this command" in same.stderr


@pytest.mark.parametrize("full", ["--record", "--write", "--write-pcap"])
def test_a_full_disk_is_one_line_and_changes_no_verdict(
    run: Run, config: Path, recording: Path, full: str
) -> None:
    result = run("replay", config, recording, full, "/dev/full")
    assert result.exit_code == 1
    assert result.stderr == "lb-switch: /dev/full: No space left on device\n"
    assert "internal_error" not in result.stdout


def test_a_reader_of_stories_who_had_enough_is_no_error(config: Path, recording: Path) -> None:
    expect_silence_without_a_reader(
        [sys.executable, "-m", "lb_switch", "replay", config, recording, "--explain"]
    )


def test_a_bad_configuration_is_exit_code_2(run: Run, config: Path, recording: Path) -> None:
    config.write_text("[switch]\nx = 1\n")
    result = run("replay", config, recording)
    assert (result.exit_code, result.stdout) == (2, "")


def test_health_checks_play_no_part(run: Run, config: Path, recording: Path) -> None:
    without = run("replay", config, recording, "--json")
    check = '  [virtual_server.health_check]\n  kind = "tcp"\n\n  [[virtual_server.real'
    text = config.read_text().replace("  [[virtual_server.real", check, 1)
    assert check in text
    config.write_text(text)
    with_check = run("replay", config, recording, "--json")
    assert (with_check.exit_code, with_check.stdout) == (0, without.stdout)
    assert '"reason": "new_connection"' in without.stdout
