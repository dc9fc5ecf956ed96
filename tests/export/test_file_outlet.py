"""The outlet: everything in order, nothing ever waits, and what is lost is counted and told."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from lb_switch.export.file_outlet import FileOutlet, OutletError
from tests.support.waiting import wait_until


def test_everything_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("what was there before")
    items = [f"line {number}\n".encode() for number in range(10_000)]
    outlet = FileOutlet(path)
    assert all(outlet.put(item) for item in items)
    outlet.close()
    outlet.close()
    assert path.read_bytes() == b"".join(items)
    assert (outlet.dropped, outlet.complaint) == (0, "")


def test_a_descriptor_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        outlet = FileOutlet("standard output", descriptor=file.fileno())
        outlet.put(b"one ")
        outlet.close()
        file.write(b"two")
    assert (tmp_path / "out").read_bytes() == b"one two"


def test_a_file_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutletError) as caught:
        FileOutlet(tmp_path / "missing" / "out")
    assert str(caught.value) == f"{tmp_path}/missing/out: No such file or directory"


def test_a_fifo_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    outlet = FileOutlet(path, limit=100)
    begin = time.monotonic()
    accepted = [outlet.put(b"x" * 30) for _ in range(5)]
    assert accepted == [True, True, True, False, False]
    outlet.close(patience=0.05)
    assert time.monotonic() - begin < 2
    assert outlet.dropped == 5, "three still waited, two found no room"
    assert outlet.complaint.startswith(f"{path}: 5 records not written: ")


def test_a_fifo_s_late_reader_gets_what_waited(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    outlet = FileOutlet(path)
    outlet.put(b"early ")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    outlet.put(b"late")
    outlet.close()
    reader.join(10)
    assert got == [b"early late"]


def test_a_reader_that_sleeps_then_wakes(tmp_path: Path) -> None:
    """A full pipe blocks the thread, the bound holds, and afterwards the items go on, whole."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    outlet = FileOutlet(path, limit=300_000)
    descriptor = os.open(path, os.O_RDONLY)
    items = [bytes([number]) * 10_000 for number in range(100)]
    accepted = [item for item in items if outlet.put(item)]
    assert 30 <= len(accepted) < 100
    got = b""
    while len(got) < len(accepted) * 10_000:
        got += os.read(descriptor, 1 << 20)
    tries = 0

    def again() -> bool:
        nonlocal tries
        tries += 1
        return outlet.put(b"again")

    wait_until(again)
    outlet.close()
    got += os.read(descriptor, 1 << 20)
    os.close(descriptor)
    assert got == b"".join(accepted) + b"again"
    assert outlet.dropped == 100 - len(accepted) + tries - 1


def test_a_reader_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    outlet = FileOutlet(path)
    os.close(os.open(path, os.O_RDONLY))
    wait_until(lambda: not outlet.put(b"x"))
    lost = outlet.dropped
    assert not outlet.put(b"x")
    outlet.close()
    assert outlet.dropped >= lost + 1
    assert outlet.complaint == f"{path}: {outlet.dropped} records not written: Broken pipe"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(tmp_path: Path) -> None:
    outlet = FileOutlet("/dev/full")
    outlet.put(b"x")
    outlet.close()
    assert outlet.complaint == "/dev/full: 1 records not written: No space left on device"
