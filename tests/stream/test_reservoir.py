"""A reader's reservoir: everything, in order, with a bound."""

from __future__ import annotations

import os

from lb_switch.stream.reservoir import Reservoir
from tests.support.waiting import wait_until


def test_everything_in_order_and_then_the_end() -> None:
    readable, writable = os.pipe()
    reservoir = Reservoir(readable)
    parts = [bytes([number]) * 5000 for number in range(100)]
    for part in parts:
        os.write(writable, part)
    os.close(writable)
    got = b""
    while data := reservoir.read():
        got += data
    assert got == b"".join(parts)
    assert reservoir.read() == b""
    os.close(readable)


def test_what_waits_is_bounded_and_goes_on_when_it_was_taken() -> None:
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    reservoir = Reservoir(readable, most=200_000)
    sent = 0

    def full() -> bool:
        nonlocal sent
        try:
            while True:
                sent += os.write(writable, bytes(1000))
        except BlockingIOError:
            return sent > 200_000

    wait_until(full)
    held = sent
    # What waits, one read beyond it, and what the pipe holds (pipe(7): 64 KiB).
    assert 200_000 < held < 200_000 + 3 * 65536
    got = len(reservoir.read())
    assert 0 < got < 200_000 + 65536
    os.set_blocking(writable, True)
    os.write(writable, b"more")
    os.close(writable)
    while data := reservoir.read():
        got += len(data)
    assert got == sent + 4
    os.close(readable)
