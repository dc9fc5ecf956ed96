"""What the service manager hears, on a socket that we read ourselves."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_switch.service import notify


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = f"lb-switch-test-{secrets.token_hex(8)}"
    path, shown = f"\0{name}", f"@{name}"
    if request.param == "path":
        path = shown = os.fspath(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        yield listening


def test_a_state_is_one_datagram(manager: socket.socket) -> None:
    notify.notify(notify.READY)
    notify.notify(notify.STOPPING)
    assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_a_reload_is_announced_and_ends_ready_whatever_came_of_it(manager: socket.socket) -> None:
    heard: list[bytes] = []

    def reload() -> None:
        with notify.reload_announced():
            heard.append(manager.recv(100))
            raise ValueError("of no use")

    with pytest.raises(ValueError, match="of no use"):
        reload()
    reloading, _, when = heard[0].partition(b"\n")
    assert reloading == b"RELOADING=1"
    assert int(when.removeprefix(b"MONOTONIC_USEC=")) > 0
    assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/at/all", "@lb-switch-nobody"])
def test_without_a_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.notify(notify.READY)


def test_a_manager_that_does_not_listen_is_not_waited_for(manager: socket.socket) -> None:
    for _ in range(2000):
        notify.notify(notify.READY)
    assert manager.recv(100) == b"READY=1"
