"""The process that writes the capture file: everything in order, and no packet waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lb_switch import interpreter
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action
from lb_switch.files.pcap import open_capture
from lb_switch.stream.hub import Hub
from lb_switch.stream.live import WRITTEN, Live
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import PacketRecord
from tests.support.dialogue import Dialogue, make_switch, send
from tests.support.packets import tcp


def live(switch: Switch, path: Path, patience: float = 5.0) -> Live:
    return Live(Hub(switch), 0.0, view=None, record=None, pcap=path, patience=patience)


def another(switch: Switch, number: int = 1, payload: int = 0) -> bytes:
    """Let a client come; return one of its packets."""
    talk = Dialogue(switch, client=(f"10.0.3.{number}", 999))
    talk.handshake()
    numbers = {"seq": talk.client_sequence, "ack": talk.server_sequence}
    return tcp(talk.client_place, talk.vip, "A", bytes(payload), **numbers)


def frames(path: Path) -> list[bytes]:
    with open_capture(path) as records:
        return [record.data for record in records]


def test_everything_in_order_and_what_the_recording_has(tmp_path: Path) -> None:
    path, recorded = tmp_path / "both.pcapng", tmp_path / "rec.jsonl"
    path.write_text("what was there before")
    switch = make_switch()
    begin = time.time()
    writer = Live(Hub(switch), time.monotonic(), view=None, record=recorded, pcap=path)
    for number in range(1, 201):
        talk = Dialogue(switch, client=(f"10.0.3.{number}", 999))
        talk.now = time.monotonic()
        talk.handshake()
    assert writer.close(1.0) == []
    assert not switch.listeners
    with recorded.open("rb") as file:
        packets = [each for each in Recording(file, "rec") if isinstance(each, PacketRecord)]
    told = [data for each in packets for data in (each.bytes_before, each.bytes_after)]
    assert len(told) == 1200
    assert frames(path) == told
    with open_capture(path) as records:
        assert all(begin - 1 < record.time < time.time() + 1 for record in records)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_opened_names_itself(tmp_path: Path) -> None:
    switch = make_switch()
    path = tmp_path / "missing" / "both.pcapng"
    with pytest.raises(FileNotFoundError) as caught:
        live(switch, path)
    assert (caught.value.filename, caught.value.strerror) == (
        str(path),
        "No such file or directory",
    )
    assert not switch.listeners


def test_a_fifo_that_nobody_opens_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    switch = make_switch()
    begin = time.monotonic()
    writer = live(switch, path, patience=0.2)
    assert send(switch, another(switch)).action is Action.FORWARD
    assert writer.close(1.0) == [f"{path}: not complete: its reader did not take everything"]
    assert time.monotonic() - begin < 3
    assert not switch.listeners


def test_a_late_reader_of_a_fifo_gets_what_waited(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    switch = make_switch()
    writer = live(switch, path)
    another(switch)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    another(switch, 2)
    assert writer.close(1.0) == []
    reader.join(10)
    (tmp_path / "read").write_bytes(got[0])
    assert len(frames(tmp_path / "read")) == 12


def test_whoever_reads_sees_packets_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    switch = make_switch()
    writer = live(switch, path)
    reader = os.open(path, os.O_RDONLY)
    another(switch)
    seen = b""
    while b"new_connection" not in seen:  # pytest's timeout ends it if nothing comes
        seen += os.read(reader, 1 << 16)
    writer.close(1.0)
    os.close(reader)


def test_a_reader_that_sleeps_then_wakes(tmp_path: Path) -> None:
    """The pipe is the bound; what found no room in it is counted in the file."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    switch = make_switch()
    writer = live(switch, path)
    descriptor = os.open(path, os.O_RDONLY)
    packet = another(switch, payload=1400)
    sent = 3
    for _ in range(60_000):  # 180 MB: more than pipe and reservoir hold
        send(switch, packet)
        sent += 1
    got = bytearray()

    def read() -> None:
        while data := os.read(descriptor, 1 << 20):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(1.0)
    send(switch, packet)
    sent += 1
    lines = writer.close(1.0)
    reader.join(20)
    os.close(descriptor)
    (tmp_path / "read").write_bytes(got)
    with open_capture(tmp_path / "read") as records:
        written = sum(1 for _ in records) // 2
    missing = sent - written
    assert lines == [f"{path}: {missing:,} events were dropped: its reader is too slow, or gone"]


def test_a_reader_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    switch = make_switch()
    writer = live(switch, path)
    os.close(os.open(path, os.O_RDONLY))
    packet = another(switch)
    while switch.listeners:
        assert send(switch, packet).action is Action.FORWARD
    (line,) = writer.close(1.0)
    assert line.startswith(f"{path}: ")
    assert "events were dropped: its reader is too slow, or gone" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(capfd: pytest.CaptureFixture[str]) -> None:
    switch = make_switch()
    writer = live(switch, Path("/dev/full"))
    another(switch)
    assert writer.close(1.0) == ["/dev/full: not complete: its reader did not take everything"]
    assert capfd.readouterr().err == "lb-switch: /dev/full: No space left on device\n"


def test_signals_that_end_the_switch_do_not_end_the_writer(tmp_path: Path) -> None:
    switch = make_switch()
    lines: list[bytes] = []

    class Kept:
        put = staticmethod(lines.append)
        drop = flush = staticmethod(lambda: None)

    hub = Hub(switch)
    lines.append(hub.header(WRITTEN.keep, 0.0))
    hub.add(Kept(), WRITTEN)
    another(switch)
    path = tmp_path / "both.pcapng"
    with path.open("wb") as out:
        process = subprocess.Popen(
            interpreter.module("lb_switch.export", "both.pcapng", "0"),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.PIPE,
            text=False,
        )
    assert process.stdin is not None
    process.stdin.write(b"".join(lines[:3]))
    process.stdin.flush()
    while not path.stat().st_size:
        time.sleep(0.02)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    process.stdin.write(b"".join(lines[3:]))
    process.stdin.flush()
    # The switch is killed: the stream has no end, but the file has all that was told.
    _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (1, b"")
    assert len(frames(path)) == 6
