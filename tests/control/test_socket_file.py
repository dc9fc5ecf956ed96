"""Whose socket file it is: a live switch keeps it, a dead one's is taken over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lb_switch.control.socket_file import SocketFile, SocketInUseError

LISTEN_AND_SAY_SO = """
import sys
from pathlib import Path
from lb_switch.control.socket_file import SocketFile
file = SocketFile(Path(sys.argv[1]))
file.claim()
listener = file.listen()
print("listening", flush=True)
sys.stdin.read()
"""


def refusal(path: Path) -> str:
    with pytest.raises(SocketInUseError) as caught:
        SocketFile(path).claim()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_a_live_one_is_refused_and_goes_on(path: Path) -> None:
    file = SocketFile(path)
    file.claim()
    with file.listen() as listener:
        assert refusal(path) == f"another lb-switch is running (it owns {path})"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            listener.accept()[0].close()
    file.remove()
    assert list(path.parent.iterdir()) == []


def test_one_that_a_killed_process_left_is_taken_over(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN_AND_SAY_SO, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        assert "another lb-switch is running" in refusal(path)
        process.kill()
        process.wait()
    assert path.is_socket(), "SIGKILL leaves the file behind"
    file = SocketFile(path)
    file.claim()
    file.listen().close()
    file.remove()
    assert not path.exists()


def test_what_is_not_a_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    assert refusal(path) == f"{path} exists and is not a socket"
    assert path.read_text() == "precious"


def test_a_directory_where_others_may_write(path: Path) -> None:
    path.parent.chmod(0o777)
    line = f"cannot put the control socket into {path.parent}: others may write there"
    assert refusal(path) == line
    path.parent.chmod(0o1777)
    file = SocketFile(path)
    file.claim()
    file.listen().close()
    file.remove()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "control.sock"
    assert refusal(path).startswith(f"cannot create the control socket {path}: ")


def test_the_umask_is_as_before(path: Path) -> None:
    before = os.umask(0o022)
    try:
        file = SocketFile(path)
        file.claim()
        file.listen().close()
        file.remove()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_nobody_can_connect_to_a_path_that_is_only_claimed(path: Path) -> None:
    file = SocketFile(path)
    file.claim()
    assert "another lb-switch is running" in refusal(path)
    assert not path.exists()
    file.remove()
    assert list(path.parent.iterdir()) == []
