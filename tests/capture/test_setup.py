"""Applying, journalling, undoing and reclaiming, on a host that only writes down its orders."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lb_switch.files.private_file import LockFile
from lb_switch.host import setup
from lb_switch.host.error import HostError
from lb_switch.host.setup import HostSetup
from lb_switch.host.steps import FilterChain, HostChange, Step, Sysctl

A = HostChange(("add", "a"), ("del", "a"))
B = HostChange(("add", "b"), ("del", "b"))
C = HostChange(("add", "c"), ("del", "c"))
CHAIN = FilterChain("iptables", "raw", "PREROUTING", "OURS", ("-d 1",))


class Host:
    """Stands in for the programs of the host and for /proc/sys."""

    def __init__(self, sysctls: Path) -> None:
        self.ran: list[str] = []
        self.failing: set[str] = set()
        self.saved = ""
        self.sysctls = sysctls

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        text = " ".join(argv)
        if argv[0].endswith("-save"):
            return self.saved
        self.ran.append(text + (" <<< " + stdin.replace("\n", "; ") if stdin else ""))
        if text in self.failing:
            raise HostError(f"{text}: no")
        return ""

    def sysctl(self, path: str, value: str | None = None) -> str:
        file = self.sysctls / path
        if value is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
        return file.read_text().strip()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path / "sys")
    monkeypatch.setattr(setup, "run", made.run)
    monkeypatch.setattr(setup, "delete_table", lambda *table: made.ran.append(f"table {table}"))
    monkeypatch.setattr(setup, "_SYSCTLS", made.sysctls)
    return made


@pytest.fixture
def started(host: Host, tmp_path: Path) -> Iterator[HostSetup]:
    made = HostSetup(tmp_path / "state")
    made.acquire()
    yield made
    made.release()


def journal(host_setup: HostSetup) -> list[object]:
    """What the state file lists, without its first line."""
    return [json.loads(line) for line in host_setup.state_file.read_text().splitlines()[1:]]


def test_steps_are_undone_in_reverse(host: Host, started: HostSetup) -> None:
    started.apply([A, B])
    started.release()
    assert host.ran == ["add a", "add b", "del b", "del a"]
    assert not started.state_file.exists()
    started.release()
    assert len(host.ran) == 4


def test_the_undoing_is_on_disk_before_the_change(
    host: Host, started: HostSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[object]] = []
    monkeypatch.setattr(setup, "run", lambda *_: seen.append(journal(started)))
    started.apply([A, B])
    assert seen == [
        [[["run", "del", "a"]]],
        [[["run", "del", "a"]], [["run", "del", "b"]]],
    ]


def test_a_change_of_the_plan_adds_before_it_removes(host: Host, started: HostSetup) -> None:
    started.apply([A, B])
    host.ran.clear()
    started.apply([C, A])
    assert host.ran == ["add c", "del b"]
    assert journal(started) == [[["run", "del", "a"]], [["run", "del", "c"]]]
    started.release()
    assert host.ran[2:] == ["del c", "del a"]


def test_a_step_of_the_same_slot_takes_the_others_place(host: Host, started: HostSetup) -> None:
    started.apply([HostChange(("set", "1"), ("unset",), slot="s")])
    started.apply([HostChange(("set", "2"), ("unset",), slot="s")])
    started.release()
    assert host.ran == ["set 1", "set 2", "unset"]


def test_a_failing_step_undoes_what_came_with_it(host: Host, started: HostSetup) -> None:
    started.apply([A])
    host.failing.add("add c")
    host.ran.clear()
    with pytest.raises(HostError, match="add c: no"):
        started.apply([A, B, C])
    assert host.ran == ["add b", "add c", "del c", "del b"]
    assert journal(started) == [[["run", "del", "a"]]]


def in_slot(value: int) -> HostChange:
    return HostChange(("set", str(value)), ("unset",), slot="s")


def test_a_failing_step_leaves_what_was_replaced_before_it_as_it_was(
    host: Host, started: HostSetup
) -> None:
    started.apply([in_slot(1), A])
    host.failing.add("add c")
    host.ran.clear()
    with pytest.raises(HostError, match="add c: no"):
        started.apply([in_slot(2), C])
    assert host.ran == ["set 2", "add c", "del c", "set 1"]
    started.apply([in_slot(1), A])  # nothing is left to do
    assert len(host.ran) == 4
    assert journal(started) == [[["run", "unset"]], [["run", "del", "a"]]]


def test_a_replacement_that_fails_is_put_back_too(
    host: Host, started: HostSetup, caplog: pytest.LogCaptureFixture
) -> None:
    started.apply([in_slot(1), CHAIN])
    host.failing |= {"set 2"}
    host.ran.clear()
    with pytest.raises(HostError, match="set 2: no"):
        started.apply([replace(CHAIN, rules=("-d 2",)), in_slot(2)])
    restore = "iptables-restore --noflush <<< *raw; :OURS - [0:0];"
    assert host.ran == [
        f"{restore} -A OURS -d 2; COMMIT; ",
        "set 2",
        "set 1",
        f"{restore} -A OURS -d 1; COMMIT; ",
    ]
    assert caplog.text == ""


def test_a_replacement_that_cannot_be_put_back_is_told(
    host: Host, started: HostSetup, caplog: pytest.LogCaptureFixture
) -> None:
    started.apply([in_slot(1)])
    host.failing |= {"set 1", "add c"}
    with pytest.raises(HostError, match="add c: no"):
        started.apply([in_slot(2), C])
    assert "while undoing: set 1: no" in caplog.text


def test_a_failing_undo_does_not_keep_the_rest(
    host: Host, started: HostSetup, caplog: pytest.LogCaptureFixture
) -> None:
    started.apply([A, B])
    host.failing.add("del b")
    started.release()
    assert host.ran[-2:] == ["del b", "del a"]
    assert "while undoing: del b: no" in caplog.text


@contextlib.contextmanager
def files_end_at(length: int) -> Iterator[None]:
    """Let the kernel refuse every byte beyond this length, in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def too_large(host_setup: HostSetup, plan: Sequence[Step]) -> None:
    """Apply a plan that does not fit into the state file."""
    with pytest.raises(HostError) as caught:
        host_setup.apply(plan)
    assert str(caught.value) == f"{host_setup.state_file}: File too large"


def test_without_room_for_the_first_undo_nothing_is_done(host: Host, started: HostSetup) -> None:
    with files_end_at(10):
        too_large(started, [A, B])
    assert host.ran == []
    assert not started.state_file.exists()
    assert not started.state_file.with_suffix(".new").exists()
    started.apply([A])
    assert host.ran == ["add a"]
    assert journal(started) == [[["run", "del", "a"]]]


def test_without_room_for_a_later_undo_the_host_is_as_before(
    host: Host, started: HostSetup
) -> None:
    started.apply([in_slot(1)])
    before = started.state_file.read_bytes()
    host.ran.clear()
    with files_end_at(len(before) + 30):  # enough for A and for a part of B
        too_large(started, [in_slot(2), A, B])
    assert host.ran == ["set 2", "add a", "del a", "set 1"]
    assert started.state_file.read_bytes() == before
    started.apply([in_slot(1), B])
    assert journal(started) == [[["run", "unset"]], [["run", "del", "b"]]]
    killed(started)
    host.ran.clear()
    after = HostSetup(started.state_file.parent)
    after.acquire()
    after.release()
    assert host.ran == ["del b", "unset"]


def test_without_room_for_a_shorter_list_the_longer_one_stays(
    host: Host, started: HostSetup, caplog: pytest.LogCaptureFixture
) -> None:
    started.apply([A, B])
    with files_end_at(10):
        started.apply([A])
    assert host.ran == ["add a", "add b", "del b"]
    assert caplog.messages == [f"{started.state_file}: lists what is undone: File too large"]
    assert journal(started) == [[["run", "del", "a"]], [["run", "del", "b"]]]
    assert not started.state_file.with_suffix(".new").exists()


def test_a_state_file_that_cannot_be_removed_does_not_keep_the_lock(
    host: Host,
    started: HostSetup,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    started.apply([A])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", _read_only)
        started.release()
    assert host.ran == ["add a", "del a"]
    assert caplog.messages == [f"{started.state_file}: lists what is undone: Read-only file system"]
    after = HostSetup(started.state_file.parent)
    after.acquire()
    after.release()


def test_sysctls_return_to_their_old_values(host: Host, started: HostSetup) -> None:
    host.sysctl("x/forward", "0")
    host.sysctl("x/one", "7")
    started.apply([Sysctl("x/forward", "1", (("x/one", "9"), ("x/absent", "9")))])
    host.sysctl("x/one", "9")  # as the kernel does when the first is written
    assert host.sysctl("x/forward") == "1"
    assert journal(started) == [[["sysctls", "x/forward", "0", "1", "x/one", "7", "9"]]]
    started.release()
    assert (host.sysctl("x/forward"), host.sysctl("x/one")) == ("0", "7")


@pytest.mark.parametrize("end", ["release", "killed"])
def test_what_somebody_else_has_set_meanwhile_stays(
    host: Host, started: HostSetup, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    for path in ("x/forward", "x/one", "x/two"):
        host.sysctl(path, "0")
    started.apply([Sysctl("x/forward", "1", (("x/one", "1"), ("x/two", "1")))])
    host.sysctl("x/one", "1")
    host.sysctl("x/two", "5")
    if end == "killed":
        killed(started)
        after = HostSetup(started.state_file.parent)
        after.acquire()
        after.release()
    else:
        started.release()
    assert [host.sysctl(each) for each in ("x/forward", "x/one", "x/two")] == ["0", "0", "5"]
    assert "x.two was set to 5 by somebody else meanwhile: it stays so" in caplog.messages
    assert "x.one" not in caplog.text


@pytest.mark.parametrize(("before", "during"), [("1", "2"), ("0", "0"), ("2", "2")])
def test_a_parameter_that_is_raised_from_one_value_only(
    host: Host, started: HostSetup, before: str, during: str
) -> None:
    host.sysctl("x/accept", before)
    started.apply([Sysctl("x/accept", "2", only_from="1")])
    assert host.sysctl("x/accept") == during
    started.release()
    assert host.sysctl("x/accept") == before


def test_a_parameter_that_was_switched_off_meanwhile_stays_off(
    host: Host, started: HostSetup
) -> None:
    """Its old value was another one than both."""
    host.sysctl("x/level", "2")
    started.apply([Sysctl("x/level", "1")])
    host.sysctl("x/level", "0")
    started.release()
    assert host.sysctl("x/level") == "0"


def test_a_sysctl_that_is_right_already_is_not_touched_at_the_end(
    host: Host, started: HostSetup
) -> None:
    host.sysctl("x/forward", "1")
    host.sysctl("x/one", "7")
    started.apply([Sysctl("x/forward", "1", (("x/one", "9"),))])
    host.sysctl("x/one", "9")
    started.release()
    assert host.sysctl("x/one") == "9"


def test_sysctls_of_the_device_are_not_recorded(host: Host, started: HostSetup) -> None:
    host.sysctl("x/device", "0")
    started.apply(
        [Sysctl("x/device", "1", recorded=False), Sysctl("x/absent/deep", "1", optional=True)]
    )
    started.release()
    assert host.sysctl("x/device") == "1"


def test_a_sysctl_that_is_missing_is_one_clear_line(started: HostSetup) -> None:
    with pytest.raises(HostError, match="cannot set /proc/sys/x/absent: No such file"):
        started.apply([Sysctl("x/absent", "1")])


def test_a_table_that_was_absent_and_is_empty_again_is_deleted(
    host: Host, started: HostSetup
) -> None:
    started.apply([CHAIN])
    started.apply([FilterChain("iptables", "raw", "PREROUTING", "OURS", ("-d 2",))])
    host.saved = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
    started.release()
    restore = "iptables-restore --noflush <<< *raw; :OURS - [0:0];"
    assert host.ran == [
        f"{restore} -A OURS -d 1; -A PREROUTING -j OURS; COMMIT; ",
        f"{restore} -A OURS -d 2; COMMIT; ",
        "iptables -w -t raw -D PREROUTING -j OURS",
        "iptables -w -t raw -F OURS",
        "iptables -w -t raw -X OURS",
        "table ('iptables', 'raw')",
    ]


@pytest.mark.parametrize(
    "content",
    [
        ":PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DROP",
        ":PREROUTING DROP [0:0]",
        ":PREROUTING ACCEPT [0:0]\n:THEIRS - [0:0]",
    ],
)
def test_a_table_that_others_have_put_something_into_stays(
    host: Host, started: HostSetup, content: str
) -> None:
    started.apply([CHAIN])
    host.saved = f"*raw\n{content}\nCOMMIT\n"
    started.release()
    assert not [line for line in host.ran if line.startswith("table")]


def test_a_table_that_was_there_before_stays(host: Host, started: HostSetup) -> None:
    host.saved = "*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
    started.apply([CHAIN])
    started.release()
    assert not [line for line in host.ran if line.startswith("table")]


def killed(host_setup: HostSetup) -> None:
    """Let the lock go as a killed process does, and nothing else."""
    descriptor = host_setup._lock._descriptor
    assert descriptor is not None
    os.close(descriptor)
    host_setup._lock._descriptor = None


def test_the_next_start_reclaims_in_reverse(host: Host, started: HostSetup) -> None:
    host.sysctl("x/forward", "0")
    started.apply([Sysctl("x/forward", "1"), A, B])
    killed(started)
    host.ran.clear()
    host.failing.add("del b")  # it had vanished with its device
    after = HostSetup(started.state_file.parent)
    after.acquire()
    assert host.ran == ["del b", "del a"]
    assert host.sysctl("x/forward") == "0"
    assert not after.state_file.exists()
    after.release()


def test_a_journal_of_another_boot_is_thrown_away(
    host: Host, started: HostSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.apply([A])
    killed(started)
    host.ran.clear()
    monkeypatch.setattr(setup, "_identity", lambda: {"boot": "another", "namespace": ""})
    after = HostSetup(started.state_file.parent)
    after.acquire()
    assert host.ran == []
    assert not after.state_file.exists()
    after.release()


def test_the_lock_is_held_until_release(host: Host, started: HostSetup) -> None:
    second = HostSetup(started.state_file.parent)
    with pytest.raises(HostError, match=r"another lb-switch runs .* \(pid \d+\): stop it"):
        second.acquire()
    second.release()
    started.release()
    second.acquire()
    second.release()


def test_what_could_not_be_reclaimed_stays_listed_and_another_may_start(
    host: Host, started: HostSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.apply([A])
    killed(started)
    after = HostSetup(started.state_file.parent)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", _read_only)
        with pytest.raises(HostError, match=r"\.state: Read-only file system"):
            after.acquire()
    after.release()
    assert journal(started) == [[["run", "del", "a"]]]
    third = HostSetup(started.state_file.parent)
    third.acquire()
    third.release()


def _read_only(path: Path, missing_ok: bool = False) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_file_in_the_state_directorys_place_is_one_clear_line(host: Host, tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    made = HostSetup(tmp_path / "state")
    with pytest.raises(HostError, match=r"/state: File exists"):
        made.acquire()
    made.release()


def test_a_folder_that_was_made_goes_with_the_switch(host: Host, tmp_path: Path) -> None:
    made = HostSetup(tmp_path / "run" / "state")
    made.acquire()
    assert (tmp_path / "run" / "state").stat().st_mode & 0o777 == 0o700
    made.release()
    assert not (tmp_path / "run").exists()
    # One that was there stays, and so does what others have put into ours.
    (tmp_path / "run").mkdir()
    made.acquire()
    (tmp_path / "run" / "state" / "theirs").touch()
    made.release()
    assert [path.name for path in (tmp_path / "run" / "state").iterdir()] == ["theirs"]


def test_what_dead_switches_left_is_swept_where_nobody_can_need_it(
    host: Host, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    boot = setup._identity()["boot"]
    old = json.dumps({"boot": "before", "namespace": "7"}) + "\n"
    ours = json.dumps({"boot": boot, "namespace": "7"}) + "\n"
    for name, text in {
        "11.lock": "123\n",  # alone
        "12.lock": "123\n",
        "12.state": old,  # of an earlier run of the machine
        "12.new": old,
        "13.lock": "123\n",
        "13.state": ours,  # its namespace may live
        "14.lock": "123\n",  # held
        "15.state": "{",  # tells nothing
        "control.sock.lock": "123\n",
        "notes.state": old,
    }.items():
        (folder / name).write_text(text)
    held = LockFile(folder / "14.lock")
    held.lock()
    made = HostSetup(folder)
    made.acquire()
    left = {path.name for path in folder.iterdir()} - {made.state_file.with_suffix(".lock").name}
    assert left == {"13.state", "14.lock", "15.state", "control.sock.lock", "notes.state"}
    made.release()
    held.release()
