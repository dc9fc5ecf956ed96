"""The TUN device's kernel thread: made where it can be, done without where not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rig import CLIENT, SERVERS, VIP, Rig, background, built

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: no thread is wanted"),
]

IFF_NAPI = 0x0010
# `ip netns exec` mounts the namespace's own sysfs over that of the host.
FOREIGN_SYSFS = 'umount /sys && exec "$@"'
NO_MOUNTS = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with built(tmp_path) as made:
        yield made


def threads() -> set[str]:
    """Return the names of the kernel's NAPI threads of devices called lbtun."""
    names = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = comm.read_text().strip()
        except OSError:
            continue
        if name.startswith("napi/lbtun-"):
            names.add(f"{name} {comm.parent.name}")
    return names


def attribute(rig: Rig, name: str) -> int:
    return int(rig.run(rig.switch, "cat", f"/sys/class/net/lbtun/{name}"), 0)


def assert_it_serves(rig: Rig) -> None:
    """Let a megabyte come through the VIP."""
    data = bytes(range(256)) * 4096

    def serve() -> None:
        served, peer = listener.accept()
        with served:
            assert peer[0] == CLIENT
            served.sendall(data)

    with rig.listen(SERVERS[0]) as listener, background(serve), rig.connect(VIP) as client:
        received = b""
        while chunk := client.recv(1 << 16):
            received += chunk
    assert received == data


@pytest.mark.parametrize(
    "wrap", [(), ("sh", "-c", FOREIGN_SYSFS, "sh")], ids=["own sysfs", "foreign sysfs"]
)
def test_what_is_written_goes_on_in_a_thread(rig: Rig, wrap: tuple[str, ...]) -> None:
    before = threads()
    switch = rig.launch("tun", *wrap)
    switch.await_serving()
    assert len(threads() - before) == 1
    assert attribute(rig, "threaded") == 1
    assert attribute(rig, "tun_flags") & IFF_NAPI
    assert_it_serves(rig)
    counters = switch.stop()
    assert counters["new_connection"] == 1
    assert switch.stderr == ""
    assert threads() == before


def test_without_the_right_to_make_one_it_works_as_well(rig: Rig) -> None:
    before = threads()
    switch = rig.launch("tun", "sh", "-c", FOREIGN_SYSFS, "sh", *NO_MOUNTS)
    switch.await_serving()
    assert threads() == before
    assert not attribute(rig, "tun_flags") & IFF_NAPI
    assert_it_serves(rig)
    assert switch.stop()["new_connection"] == 1
    assert switch.stderr == ""
