"""`replay --write-pcap`, and `run --write-pcap` with real programs in a lab."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_switch.files.pcap import create_capture
from netns_lab.lab import Lab
from netns_lab.programs import lb_switch
from netns_lab.topologies import SWITCH, TEXTBOOK
from tests.cli.conftest import Run
from tests.cli.conftest import config as config  # noqa: PLC0414 - a fixture
from tests.cli.conftest import run as run  # noqa: PLC0414
from tests.replay.test_vector import ROWS, recording
from tests.support import tshark


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    with create_capture(path) as out:
        for each in recording():
            out.write(each)
    return path


def test_a_replay_in_one_file(run: Run, config: Path, recorded: Path, tmp_path: Path) -> None:
    target = tmp_path / "both.pcapng"
    result = run("replay", config, recorded, "--write-pcap", target)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == run("replay", config, recorded).stdout
    tshark.need_tshark()
    shown = tshark.rows(target, "frame.packet_id", "frame.time_epoch", "frame.comment")
    seen = {int(number): (float(time), comment) for number, time, comment in shown}
    for number, row in enumerate(ROWS, 1):
        if row["reason"] == "not_ip":
            assert number not in seen
        else:
            time, comment = seen[number]
            assert time == pytest.approx(row["time"], abs=1e-6)
            assert comment.startswith(f"{row['verdict']} {row['reason']}")


def test_names_come_from_the_table_of_hosts(
    run: Run, config: Path, recorded: Path, tmp_path: Path
) -> None:
    config.write_text('[hosts]\nc1 = "10.0.1.11"\ns2 = ["10.0.2.12"]\n' + config.read_text())
    target = tmp_path / "both.pcapng"
    assert run("replay", config, recorded, "--write-pcap", target).exit_code == 0
    tshark.need_tshark()
    shown = {name for row in tshark.rows(target, "ip.src_host", "ip.dst_host") for name in row}
    assert {"c1", "web", "web-rs1", "s2"} <= shown


def test_the_input_is_not_overwritten(run: Run, config: Path, recorded: Path) -> None:
    before = recorded.read_bytes()
    result = run("replay", config, recorded, "--write-pcap", recorded)
    assert result.exit_code == 1
    assert (
        result.stderr == f"lb-switch: {recorded}: is an input of this command: write to another\n"
    )
    assert recorded.read_bytes() == before


def test_a_directory_that_is_missing(
    run: Run, config: Path, recorded: Path, tmp_path: Path
) -> None:
    target = tmp_path / "missing" / "both.pcapng"
    result = run("replay", config, recorded, "--write-pcap", target)
    assert result.exit_code == 1
    assert result.stderr == f"lb-switch: {target}: No such file or directory\n"


# -- live --------------------------------------------------------------------------------------


@pytest.fixture(params=["tun", "nfqueue"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(dataclasses.replace(TEXTBOOK, offload=True), capture=request.param) as lab:
        lab.stop_switch()
        yield lab


def write_live(lab: Lab, path: Path, *visits: tuple[str, ...]) -> str:
    """Run the switch with `--write-pcap` while clients come; return what it said on stderr."""
    command = [*lb_switch(), "run", str(lab.config_path), "--write-pcap", str(path)]
    errors = path.with_suffix(".stderr")
    with errors.open("w") as stderr:
        switch = lab.popen(SWITCH, command, stdout=subprocess.PIPE, stderr=stderr)
        assert switch.stdout is not None
        timer = threading.Timer(30, switch.kill)
        timer.start()
        try:
            assert b"serving" in switch.stdout.readline(), errors.read_text()
            for visit in visits:
                assert lab.client(*visit)["errors"] == []
        finally:
            timer.cancel()
            switch.terminate()
            code = switch.wait(30)
            switch.stdout.close()
    assert code == 0, errors.read_text()
    return errors.read_text()


VIP = str(TEXTBOOK.virtual_servers[0].ip)


@pytest.mark.netns
def test_real_traffic_opens_cleanly(lab: Lab, tmp_path: Path) -> None:
    tshark.need_tshark()
    path = tmp_path / "both.pcapng"
    said = write_live(
        lab,
        path,
        ("c1", "requests", f"http://{VIP}/", "-n", "6"),
        ("c2", "transfer", f"http://{VIP}/", "--bytes", "2000000"),
    )
    assert said == ""
    found = tshark.expert(path)
    assert "Errors" not in found, found
    # Linux itself completes one TCP checksum in 65,536 to 0xffff instead of 0 (CSUM_MANGLED_0).
    summaries = {text for texts in found.values() for text in texts if "RFC 1624" not in text}
    assert not any("hecksum" in text or "etransmission" in text for text in summaries), found
    syns = tshark.rows(
        path,
        "frame.packet_id",
        "frame.interface_name",
        "ip.dst",
        "frame.comment",
        only="tcp.flags.syn == 1 && tcp.flags.ack == 0 && frame.comment contains new_connection",
    )
    clients, servers = syns[0::2], syns[1::2]
    assert len(clients) == len(servers) >= 7
    for came, went in zip(clients, servers, strict=True):
        assert (came[0], came[3]) == (went[0], went[3])
        assert (came[1], came[2]) == ("client-side", VIP)
        assert went[1] == "server-side"
        assert f"→ {went[2]}:" in came[3]
    assert len({row[2] for row in servers}) > 1
    machines = {name for pair in tshark.rows(path, "ip.src_host", "ip.dst_host") for name in pair}
    assert {"c1", "c2", "s1", "s2"} <= machines, "named by the lab's table of hosts"
    largest = max(int(length) for (length,) in tshark.rows(path, "frame.len"))
    completed = tshark.rows(path, "frame.len", only='frame.comment contains "completed"')
    if lab.capture == "tun":
        assert completed, "TUN hands packets over with partial checksums"
        assert largest > 1500, "and whole segments of more than the MTU"


@pytest.mark.netns
def test_a_fifo_that_nobody_reads_holds_up_no_client(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    said = write_live(lab, path, ("c1", "requests", f"http://{VIP}/", "-n", "10"))
    assert said.startswith(f"lb-switch: note: {path}: ")
    assert "not complete: its reader did not take everything" in said
