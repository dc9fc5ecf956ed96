"""What root writes where others may be."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lb_switch.files.private_file import Folder, HeldError, LockFile, check_folder, open_to_write

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play two users")


def written(path: Path, data: bytes = b"secret") -> None:
    with open(open_to_write(path), "wb") as file:
        file.write(data)


def test_a_folder_that_goes_between_making_and_locking_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    lock = LockFile(path / "lock")

    class Vanishing(Folder):
        times = 0

        def make(self) -> None:
            super().make()
            self.times += 1
            if self.times == 1:
                path.rmdir()

    folder = Vanishing(path)
    lock.take_in(folder)
    assert lock.is_held
    lock.release()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_may_write_to_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    folder = Folder(tmp_path / "open")
    with pytest.raises(PermissionError, match="others may write there"):
        folder.make()
    folder.remove()
    assert (tmp_path / "open").is_dir()


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_an_old_file_is_emptied_and_closed_to_others(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"much longer than what comes now")
    old.chmod(0o644)
    written(old)
    assert old.read_bytes() == b"secret"
    assert stat.S_IMODE(old.stat().st_mode) == 0o600


def test_a_link_of_ones_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    written(tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == b"secret"


@needs_root
def test_a_link_of_somebody_elses_is_not(tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "rec.jsonl"
    precious.write_bytes(b"precious")
    link.symlink_to(precious)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="a symbolic link of somebody else's"):
        open_to_write(link)
    assert precious.read_bytes() == b"precious"


@needs_root
def test_a_file_of_somebody_elses_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "rec.jsonl"
    theirs.write_bytes(b"theirs")
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        open_to_write(theirs)
    assert theirs.read_bytes() == b"theirs"
    monkeypatch.setenv("SUDO_UID", str(NOBODY))  # unless it is who called sudo
    written(theirs)
    assert theirs.read_bytes() == b"secret"


def test_what_is_no_regular_file_is_opened_as_it_is() -> None:
    mode = os.stat("/dev/null").st_mode
    os.close(open_to_write("/dev/null"))
    assert os.stat("/dev/null").st_mode == mode


# -- folders -----------------------------------------------------------------------------------


def test_folders(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder("/tmp")
    tmp_path.chmod(0o770)
    with pytest.raises(PermissionError, match="others may write there"):
        check_folder(tmp_path)


@needs_root
def test_folders_of_somebody_elses(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        check_folder(theirs)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    check_folder(link)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="a symbolic link of somebody else's"):
        check_folder(link)


# -- locks -------------------------------------------------------------------------------------

HOLD = """
import os, sys
from lb_switch.files.private_file import LockFile
lock = LockFile(sys.argv[1])
lock.lock()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_lock_lives_as_long_as_its_process(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        with pytest.raises(HeldError) as caught:
            LockFile(path).lock()
        assert caught.value.pid == pid
        process.kill()
        process.wait()
    assert path.exists(), "what a killed process leaves is no hindrance"
    lock = LockFile(path)
    lock.lock()
    assert lock.is_held
    lock.release()
    lock.release()
    assert not path.exists()


@needs_root
def test_nobody_can_hold_a_lock_of_roots(tmp_path: Path) -> None:
    """Not even where he may make files: his is thrown away, lock and all."""
    tmp_path.chmod(0o1777)
    path = tmp_path / "x.lock"
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    with subprocess.Popen(
        [
            "/usr/bin/setpriv",
            f"--reuid={NOBODY}",
            "--clear-groups",
            "/usr/bin/flock",
            str(path),
            "/bin/sh",
            "-c",
            "echo held; read line",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert path.stat().st_uid == NOBODY
        lock = LockFile(path)
        lock.lock()
        assert path.stat().st_uid == 0
        lock.release()
