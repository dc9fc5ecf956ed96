"""The probe process from the inside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address

import pytest

from lb_switch.health import messages, worker
from lb_switch.health.check import Target
from lb_switch.health.tracker import ProbeResult

TARGET = Target("tcp", ip_address("127.0.0.1"), 80, 0.001, 1.0)


def test_results_that_nobody_reads_are_dropped_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probed = said = 0

    async def probe(_target: Target) -> ProbeResult:
        nonlocal probed
        probed += 1
        return ProbeResult(True, "x" * 50_000)

    def found(number: int, result: ProbeResult) -> bytes:
        nonlocal said
        said += 1
        return line(number, result)

    line = messages.found
    monkeypatch.setattr(worker, "probe", probe)
    monkeypatch.setattr(messages, "found", found)

    async def play(ours: socket.socket, theirs: socket.socket) -> None:
        working = asyncio.create_task(worker.work(theirs))
        ours.send(messages.start(1, TARGET))
        async with asyncio.timeout(20.0):
            while probed < said + 20:
                await asyncio.sleep(0.001)
            stuck = said
            assert stuck < 30, "half a megabyte waits, and no more"
            loop = asyncio.get_running_loop()
            while said < stuck + 5:
                await loop.sock_recv(ours, 1 << 20)
            ours.close()
            # With bytes unread, this hang-up is a reset.
            with contextlib.suppress(ConnectionError):
                await working

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        asyncio.run(play(ours, theirs))
