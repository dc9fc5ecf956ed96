"""`run --explain` and `run --record` on real traffic: one story, live and from the recording."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lb_switch.files.pcap import open_capture
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import ConnectionRecord, EndRecord, PacketRecord, Record
from netns_lab import readiness
from netns_lab.lab import Lab
from netns_lab.programs import lb_switch
from netns_lab.sniff import sniff
from netns_lab.topologies import DUAL_STACK, SWITCH, TEXTBOOK

pytestmark = pytest.mark.netns

VIP, VIP6 = "10.0.1.100", "2001:db8:1::100"
RIPS = {"10.0.2.11", "2001:db8:2::11"}
URL = f"http://{VIP}/"


@contextlib.contextmanager
def running(lab: Lab, *options: object, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the switch of a lab with further options; end it as an operator would."""
    lab.start_switch()  # writes the configuration
    lab.stop_switch()
    argv = [*lb_switch(), "run", str(lab.config_path), *map(str, options)]
    with output.open("wb") as out:
        process = lab.popen(SWITCH, argv, stdout=out, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 20
    assert readiness.switch_serves(lab.control_socket, process, deadline), output.read_text()
    yield process
    process.terminate()
    assert process.wait(20) == 0


def read(path: Path) -> list[Record]:
    with path.open("rb") as file:
        return list(Recording(file, path.name))


def traffic(lab: Lab) -> None:
    result = lab.client("c1", "requests", URL, "-n", "4")
    assert result["answers"] == {"s1": 2, "s2": 2}
    lab.exec("c1", ["ping", "-c", "1", VIP], check=True)
    refused = lab.client("c2", "requests", f"http://{VIP}:81/", "-n", "1")
    assert "refused" in refused["errors"][0]


@pytest.mark.parametrize("view", ["story", "diff", "ladder"])
@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_live_and_recorded_are_the_same(
    make_lab: Callable[..., Lab], tmp_path: Path, capture: str, view: str
) -> None:
    lab = make_lab(capture=capture, switch=False)
    shown, recording = tmp_path / "shown", tmp_path / "rec.jsonl"
    with running(lab, "--view", view, "--record", recording, output=shown):
        traffic(lab)
    serving, _, live = shown.read_text().partition("\n")
    assert serving.startswith("lb-switch: serving web")
    later = lab.cli("explain", view, "--from", str(recording))
    assert (later.returncode, later.stderr) == (0, "")
    assert live == later.stdout
    assert max(map(len, live.splitlines())) <= 80
    records = read(recording)
    end = records[-1]
    assert isinstance(end, EndRecord)
    assert end.dropped == 0
    packets = [each for each in records if isinstance(each, PacketRecord)]
    assert [each.number for each in packets] == list(range(1, end.packets + 1))
    opened = [each for each in records if isinstance(each, ConnectionRecord)]
    assert sum(each.stage == "opened" for each in opened) == 4


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_every_view_tells_the_ttls_of_both_wires(
    make_lab: Callable[..., Lab], tmp_path: Path, capture: str
) -> None:
    lab = make_lab(topology=DUAL_STACK, capture=capture, switch=False)
    recording, pcapng = tmp_path / "rec.jsonl", tmp_path / "both.pcapng"
    options = ("--record", recording, "--write-pcap", pcapng)
    with (
        sniff(lab, "c1", f"tcp and (host {VIP} or host {VIP6})") as at_client,
        sniff(lab, "s1", "tcp port 80 and (host 10.0.1.11 or host 2001:db8:1::11)") as at_server,
        running(lab, *options, output=tmp_path / "shown"),
    ):
        for host in (VIP, f"[{VIP6}]"):
            assert lab.client("c1", "requests", f"http://{host}/", "-n", "2")["errors"] == []
            assert lab.client("c1", "requests", f"http://{host}:81/", "-n", "1")["errors"] != []
    wires = {
        (seen.source.version, str(seen.source) in {VIP, VIP6}, "RST" in seen.flags, seen.ttl)
        for seen in at_client.packets
    }
    # What the switch says itself begins with 64, as with every host.
    assert wires == {
        (version, *rest)
        for version in (4, 6)
        for rest in ((False, False, 64), (True, False, 63), (True, True, 64))
    }
    by_server = {(str(seen.source) in RIPS, seen.ttl) for seen in at_server.packets}
    assert by_server == {(True, 64), (False, 63)}

    forwarded = [
        each
        for each in read(recording)
        if isinstance(each, PacketRecord) and each.verdict == "forward"
    ]
    assert len(forwarded) > 30
    assert {(_ttl(e.bytes_before), _ttl(e.bytes_after)) for e in forwarded} == {(64, 63)}
    with open_capture(pcapng) as file:
        written = [record.data for record in file]
    with_port_80 = [data for data in written if b"\x00\x50" in _ports(data)]
    assert len(with_port_80) == 2 * len(forwarded)
    assert {_ttl(data) for data in with_port_80} == {64, 63}
    assert sum(_ttl(data) == 63 for data in with_port_80) == len(forwarded)
    number = str(forwarded[0].number)
    diff = lab.cli("explain", "diff", "--from", str(recording), "--packet", number)
    assert f"time to live       {64:<27} ≠ 63 (the switch is one hop)" in diff.stdout


def _ttl(packet: bytes) -> int:
    return packet[8] if packet[0] < 0x50 else packet[7]


def _ports(packet: bytes) -> tuple[bytes, bytes]:
    at = 20 if packet[0] < 0x50 else 40
    return packet[at : at + 2], packet[at + 2 : at + 4]


@pytest.mark.lab(switch=False)
def test_the_story_names_the_hosts_of_the_lab(lab: Lab, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with running(lab, "--explain", output=shown):
        traffic(lab)
    story = shown.read_text()
    assert "web: tcp 10.0.1.100:80, rr → s1 10.0.2.11:80, s2 10.0.2.12:80" in story
    assert "rr chooses s1: first in rotation (1 of 2 usable); not s2" in story
    assert "rr chooses s2: next after s1 (2 of 2 usable); not s1" in story
    assert "the switch answers itself" in story
    assert "no virtual server has this port of the VIP: refused" in story


@pytest.mark.lab(topology=dataclasses.replace(TEXTBOOK, offload=True), switch=False, capture="tun")
def test_partial_checksums_are_recorded_and_explained(lab: Lab, tmp_path: Path) -> None:
    recording = tmp_path / "rec.jsonl"
    with running(lab, "--record", recording, output=tmp_path / "shown"):
        assert lab.client("c1", "requests", URL, "-n", "1")["errors"] == []
    partial = [each for each in read(recording) if isinstance(each, PacketRecord) and each.partial]
    assert partial
    number = str(partial[0].number)
    walked = lab.cli("explain", "diff", "--from", str(recording), "--packet", number, "--checksum")
    assert "a partial checksum S" in walked.stdout
    assert "✗" not in walked.stdout
    assert "damaged" not in walked.stdout


@pytest.mark.lab(switch=False)
def test_a_reader_that_sleeps_or_dies_holds_up_nothing(lab: Lab, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    sleeper = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with running(lab, "--record", fifo, output=tmp_path / "shown"):
            for _ in range(2):
                result = lab.client("c1", "transfer", URL, "--bytes", "20000000")
                assert result["errors"] == []
            os.close(sleeper)
            sleeper = -1
            assert lab.client("c1", "requests", URL, "-n", "200")["errors"] == []
    finally:
        if sleeper >= 0:
            os.close(sleeper)
    assert (
        "events were dropped: its reader is too slow, or gone" in (tmp_path / "shown").read_text()
    )
