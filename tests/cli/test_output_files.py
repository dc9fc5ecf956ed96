"""What is read is not written over, whatever it is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lb_switch.files.pcap import create_capture
from lb_switch.files.record import CapturedPacket, CaptureInterface
from tests.cli.conftest import Run
from tests.support.packets import tcp

REFUSED = "is an input of this command: write to another\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    with create_capture(path) as out:
        packet = tcp(("10.0.1.11", 40000), ("10.0.1.100", 80), "S")
        out.write(
            CapturedPacket(
                10**9, CaptureInterface(0, 1), bytes(12) + b"\x08\0" + packet, 14 + len(packet)
            )
        )
    return path


@pytest.fixture(params=["same", "dots", "symlink", "hard link"])
def spelled(request: pytest.FixtureRequest, recording: Path, tmp_path: Path) -> Path:
    """The recording by another name."""
    other = tmp_path / "other.pcap"
    if request.param == "same":
        return recording
    if request.param == "dots":
        return recording.parent / "." / ".." / recording.parent.name / recording.name
    if request.param == "symlink":
        other.symlink_to(recording)
    else:
        os.link(recording, other)
    return other


@pytest.mark.parametrize("option", ["--record", "--write-pcap", "-w"])
def test_the_recording(run: Run, config: Path, recording: Path, spelled: Path, option: str) -> None:
    before = recording.read_bytes()
    result = run("replay", config, recording, option, spelled)
    assert (result.exit_code, result.stderr) == (1, f"lb-switch: {spelled}: {REFUSED}")
    assert recording.read_bytes() == before


@pytest.mark.parametrize("option", ["--record", "--write-pcap", "-w"])
def test_the_configuration(run: Run, config: Path, recording: Path, option: str) -> None:
    before = config.read_bytes()
    result = run("replay", config, recording, option, config)
    assert (result.exit_code, result.stderr) == (1, f"lb-switch: {config}: {REFUSED}")
    if option != "-w":
        result = run("run", config, option, config)
        assert (result.exit_code, result.stderr) == (1, f"lb-switch: {config}: {REFUSED}")
    assert config.read_bytes() == before


def test_what_is_explained(run: Run, config: Path, recording: Path, tmp_path: Path) -> None:
    record = tmp_path / "rec.jsonl"
    assert run("replay", config, recording, "--record", record).exit_code == 0
    assert record.stat().st_mode & 0o777 == 0o600
    before = record.read_bytes()
    result = run("explain", "ladder", "--from", record, "--svg", record)
    assert (result.exit_code, result.stderr) == (1, f"lb-switch: {record}: {REFUSED}")
    result = run("compare", config, recording, "--svg", recording)
    assert (result.exit_code, result.stderr) == (1, f"lb-switch: {recording}: {REFUSED}")
    assert record.read_bytes() == before


def test_two_outputs_in_one_file(run: Run, config: Path, recording: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    result = run("replay", config, recording, "--record", both, "--write-pcap", both)
    assert result.exit_code == 1
    assert result.stderr == f"lb-switch: {both}: two outputs in one file: write to another\n"
    assert (
        run("replay", config, recording, "--record", "/dev/null", "-w", "/dev/null").exit_code == 0
    )
