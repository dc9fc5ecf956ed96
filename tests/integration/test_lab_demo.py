"""The demo, run as a program: its story, its exit codes, its clean-up."""

import os
import pty
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab import lab as labs
from netns_lab.plan import namespaces
from netns_lab.state import lab_directory
from netns_lab.topology import TEXTBOOK

pytestmark = pytest.mark.netns


class Demo:
    """A demo whose lab has a prefix of its own, so that what it leaves behind can be told."""

    def __init__(self) -> None:
        self.prefix = f"lbt{secrets.token_hex(3)}-"
        self.argv = [sys.executable, "-m", "netns_lab.scenarios.demo", "--prefix", self.prefix]

    def traces(self) -> list[Path]:
        """The lab's namespaces and directory, as far as they are there."""
        paths = [Path("/run/netns", name) for name in namespaces(TEXTBOOK, self.prefix)]
        return [path for path in (*paths, lab_directory(self.prefix)) if path.exists()]


@pytest.fixture
def demo() -> Iterator[Demo]:
    """A demo to be started; its lab is removed if the demo has not done so."""
    mine = Demo()
    yield mine
    labs.down(mine.prefix)


@pytest.fixture(scope="module")
def transcript() -> str:
    """The whole demo, once, into a file."""
    demo = Demo()
    told = subprocess.run(demo.argv, capture_output=True, text=True, check=False, timeout=110)
    assert (told.returncode, told.stderr) == (0, "")
    assert demo.traces() == []
    return told.stdout


def test_it_fits_80_columns_and_is_plain_text(transcript: str) -> None:
    assert max(map(len, transcript.splitlines())) <= 80
    assert transcript.isascii()
    assert "\x1b" not in transcript


def test_it_tells_the_whole_story(transcript: str) -> None:
    assert "capture tun, scheduler rr" in transcript
    assert "capture nfqueue, scheduler sh" in transcript
    for client in ("c1", "c2"):
        assert f"{client}  http://10.0.1.100/     s1 s2 s1 s2 s1 s2   s1 3x, s2 3x" in transcript
    assert "destination     10.0.1.100:80            => 10.0.2.1" in transcript
    assert "source          10.0.1.100:80            <= 10.0.2.1" in transcript
    assert "TTL             64                       => 63" in transcript
    assert "WRONG" not in transcript
    assert "$ lb-switch show connections" in transcript
    assert "ESTABLISHED 10.0.1.12:" in transcript
    assert transcript.count("-> RemoteAddress:Port") == 2


def test_a_terminal_gets_colour_unless_it_declines() -> None:
    coloured = on_a_terminal(Demo(), {"TERM": "xterm"})
    assert "\x1b[" in coloured
    assert "\x1b[" not in on_a_terminal(Demo(), {"TERM": "xterm", "NO_COLOR": "1"})


def on_a_terminal(demo: Demo, environment: dict[str, str]) -> str:
    """The beginning of the demo as a terminal gets it; then hang up."""
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*demo.argv, "--capture", "tun"], stdout=slave, stderr=slave, env=clean | environment
    )
    os.close(slave)
    told = b""
    while b"real server of the group" not in told:
        told += os.read(master, 4096)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 128 + signal.SIGHUP
    os.close(master)
    assert demo.traces() == []
    return told.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["lb-switch: a", "virtual: clients", "who answered", "show"])
def test_an_interruption_at_any_moment_cleans_up(
    demo: Demo, moment: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        demo.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            break
    os.killpg(process.pid, number)  # as a terminal does: to the whole group, and impatiently
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors.strip() == "scripts/demo: interrupted, cleaning up"
    assert demo.traces() == []


def test_a_reader_that_goes_away_ends_it_quietly(demo: Demo) -> None:
    process = subprocess.Popen(demo.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), errors) == (1, "")
    assert demo.traces() == []
