"""Whether a sysfs is the one of this network namespace."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lb_switch.capture import napi


def sysfs(directory: Path, interfaces: list[tuple[int, str]]) -> Path:
    for index, name in interfaces:
        entry = directory / "class/net" / name
        entry.mkdir(parents=True)
        (entry / "ifindex").write_text(f"{index}\n")
    (directory / "class/net").mkdir(parents=True, exist_ok=True)
    # A file among the interfaces, as the bonding driver has one.
    (directory / "class/net/bonding_masters").write_text("")
    return directory


def test_the_own_one_is_known(tmp_path: Path) -> None:
    assert napi._shows_this_namespace(sysfs(tmp_path, socket.if_nameindex()))


@pytest.mark.parametrize("change", ["another name", "another number", "one more", "none"])
def test_a_foreign_one_too(tmp_path: Path, change: str) -> None:
    (index, name), *others = socket.if_nameindex()
    interfaces = {
        "another name": [(index, name + "x"), *others],
        "another number": [(index + 999, name), *others],
        "one more": [(index, name), (index + 999, name + "x"), *others],
        "none": [],
    }[change]
    assert not napi._shows_this_namespace(sysfs(tmp_path, interfaces))


def test_no_sysfs_at_all(tmp_path: Path) -> None:
    assert not napi._shows_this_namespace(tmp_path / "missing")


def test_one_core_has_nowhere_to_put_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert not napi.pays_off()
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert napi.pays_off()
