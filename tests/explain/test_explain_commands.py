"""`lb-switch explain`, `replay --explain` and `--record`: what a person gets on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lb_switch.explain.views import NAMES
from lb_switch.files.pcap import create_capture
from tests.cli.conftest import Run
from tests.cli.conftest import config as config  # noqa: PLC0414 - a fixture
from tests.cli.conftest import run as run  # noqa: PLC0414
from tests.explain.told import VECTOR
from tests.replay.test_vector import recording

HOSTS = '\n[hosts]\nc1 = "10.0.1.11"\ns1 = "10.0.2.11"\ns2 = "10.0.2.12"\n'
VIEWS = [("story",), ("diff",), ("diff", "--checksum"), ("ladder",), ("ladder", "--mermaid")]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    with create_capture(path) as out:
        for each in recording():
            out.write(each)
    return path


@pytest.fixture
def named(config: Path) -> Path:
    config.write_text(config.read_text() + HOSTS)
    return config


def program(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run lb-switch as a program, with this environment."""
    return subprocess.run(
        [sys.executable, "-m", "lb_switch", *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**_clean_environment(), **environment},
    )


def _clean_environment() -> dict[str, str]:
    dropped = ("NO_COLOR", "PYTHONIOENCODING", "PYTHONUTF8", "LANG", "TERM")
    return {
        key: value
        for key, value in os.environ.items()
        if key not in dropped and not key.startswith("LC_")
    }


@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_piped_it_is_plain_and_eighty_columns_wide(run: Run, view: tuple[str, ...]) -> None:
    result = run("explain", *view, "--from", VECTOR)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) > 50
    if "--mermaid" not in view:
        assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("view", NAMES)
def test_a_replay_shows_what_its_recording_shows(
    run: Run, named: Path, recorded: Path, tmp_path: Path, view: str
) -> None:
    target = tmp_path / "rec.jsonl"
    at_once = run("replay", named, recorded, "--view", view, "--record", target)
    assert (at_once.exit_code, at_once.stderr) == (0, "")
    later = run("explain", view, "--from", target)
    assert (later.exit_code, later.stderr) == (0, "")
    shown, _, summary = at_once.stdout.partition("Packets  ")
    assert shown == later.stdout
    assert "new_connection" in summary


def test_explain_alone_means_story(run: Run, named: Path, recorded: Path) -> None:
    story = run("replay", named, recorded, "--explain").stdout
    assert story == run("replay", named, recorded, "--view", "story").stdout
    # Numbers are those of the capture file, whose first frame is no IP packet.
    assert "#2 0.000000  c1 10.0.1.11:40000 → VIP 10.0.1.100:80  TCP SYN\n" in story
    assert "rr chooses s1: first in rotation (1 of 2 usable); not s2" in story


def test_recording_alone_changes_nothing_on_the_screen(
    run: Run, named: Path, recorded: Path, tmp_path: Path
) -> None:
    target = tmp_path / "rec.jsonl"
    quiet = run("replay", named, recorded, "--record", target)
    assert quiet.stdout == run("replay", named, recorded).stdout
    assert target.read_text().count("\n") > 10


def test_json_and_explain_exclude_each_other(run: Run, named: Path, recorded: Path) -> None:
    result = run("replay", named, recorded, "--json", "--explain")
    assert result.exit_code == 2
    assert "--json and --explain cannot go together" in result.stderr


def test_a_recording_that_cannot_be_written(
    run: Run, named: Path, recorded: Path, tmp_path: Path
) -> None:
    target = tmp_path / "no" / "rec.jsonl"
    result = run("replay", named, recorded, "--record", target)
    assert result.exit_code == 1
    assert result.stderr == f"lb-switch: {target}: No such file or directory\n"


@pytest.mark.parametrize("view", NAMES)
def test_a_recording_that_was_cut_off_is_shown_as_far_as_it_is_whole(
    run: Run, tmp_path: Path, view: str
) -> None:
    cut = tmp_path / "cut.jsonl"
    data = VECTOR.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    result = run("explain", view, "--from", cut)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"lb-switch: {cut}: cut off in line ")
    whole = run("explain", view, "--from", VECTOR).stdout
    assert len(result.stdout) > 1000
    assert whole.startswith(result.stdout)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty, so no recording"),
        (b"hello\n", "no recording: the first line is no header"),
        (b'{"format":"lb-switch recording","version":2}\n', "a recording of version 2;"),
    ],
)
def test_what_cannot_be_played(run: Run, tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    for view in NAMES:
        result = run("explain", view, "--from", file)
        assert result.exit_code == 1
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"lb-switch: {file}: {problem}")


def test_a_file_that_is_not_there_and_a_directory(run: Run, tmp_path: Path) -> None:
    for place, problem in ((tmp_path / "no", "No such file"), (tmp_path, "Is a directory")):
        result = run("explain", "story", "--from", place)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"lb-switch: {place}: {problem}")


def test_seek(run: Run) -> None:
    def headlines(*options: str) -> list[str]:
        text = run("explain", "story", "--from", VECTOR, *options).stdout
        return [line.split()[0] for line in text.splitlines() if line.startswith("#")]

    assert headlines("--packet", "3") == ["#3"]
    assert headlines("--packet", "29-") == ["#29", "#30"]
    assert headlines("--packet", "2-4", "--connection", "1") == ["#2", "#3", "#4"]
    assert headlines("--start", "2.2") == [f"#{number}" for number in range(24, 31)]
    # The last one met the end of the connection, and was answered with a RST.
    assert headlines("--connection", "10.0.1.11:44000") == ["#26", "#27", "#28", "#29"]


@pytest.mark.parametrize(
    ("packets", "complaint"),
    [
        ("0", "'0': packets are numbered from 1"),
        ("0-3", "'0-3': packets are numbered from 1"),
        ("7-6", "'7-6' ends before it begins"),
        ("x", "'x' is none of N, N-M, N-"),
    ],
)
def test_packet_numbers_that_cannot_be(run: Run, packets: str, complaint: str) -> None:
    result = run("explain", "diff", "--from", VECTOR, "--packet", packets)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"lb-switch: Invalid value for '--packet': {complaint} (lb-switch explain diff -h)\n"
    )


@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_a_packet_that_is_not_in_it(run: Run, view: tuple[str, ...]) -> None:
    result = run("explain", *view, "--from", VECTOR, "--packet", "31")
    assert result.exit_code == 1
    assert result.stderr == f"lb-switch: {VECTOR}: no packet 31; the last is 30\n"


def test_no_picture_is_made_of_nothing(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "ladder.svg"
    result = run("explain", "ladder", "--from", VECTOR, "--connection", "nobody", "--svg", target)
    assert result.exit_code == 1
    assert result.stderr == f"lb-switch: {VECTOR}: no packet of connection nobody\n"
    assert not target.exists()


def test_diff_of_what_changed_alone(run: Run) -> None:
    text = run("explain", "diff", "--from", VECTOR, "--packet", "2", "--changed").stdout
    assert len(text.splitlines()) < 24
    assert "packet 2 at 0.500000: server → client, SYN ACK (known connection)\n" in text
    assert "    source             10.0.2.11                   ≠ 10.0.1.100\n" in text
    assert "sequence" not in text


def test_at_the_pace_of_the_recording(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    paced = run("explain", "story", "--from", VECTOR, "--pace", "10", "--packet", "1-5")
    assert paced.exit_code == 0
    # Packet 4 came 1 ms after the third, packet 5 came 2 ms later.
    assert slept[:2] == [pytest.approx(0.0001), pytest.approx(0.0002)]
    assert paced.stdout == run("explain", "story", "--from", VECTOR, "--packet", "1-5").stdout


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
@pytest.mark.parametrize("view", NAMES)
def test_a_reader_who_knows_ascii_alone_gets_ascii(environment: dict[str, str], view: str) -> None:
    result = program("explain", view, "--from", VECTOR, **environment)
    assert (result.returncode, result.stderr) == (0, b"")
    text = result.stdout.decode("ascii")
    assert max(map(len, text.splitlines())) <= 80
    asked = program("explain", view, "--from", VECTOR, "--ascii", LC_ALL="C.UTF-8")
    assert asked.stdout == result.stdout


def test_utf8_where_the_reader_knows_it() -> None:
    for environment in ({"LC_ALL": "C.UTF-8"}, {"PYTHONIOENCODING": "utf-8", "LC_ALL": "C"}):
        result = program("explain", "ladder", "--from", VECTOR, **environment)
        assert "├──" in result.stdout.decode()


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """Run lb-switch with a terminal as its output; return what it wrote there."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lb_switch", *map(str, arguments)],
        stdout=slave,
        stdin=subprocess.DEVNULL,
        env={**_clean_environment(), "LC_ALL": "C.UTF-8", "TERM": "xterm", **environment},
    )
    os.close(slave)
    data = b""
    try:
        while piece := os.read(master, 1 << 16):
            data += piece
    except OSError:
        pass  # EIO: the program has closed the terminal
    os.close(master)
    assert process.wait(60) == 0
    return data.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("view", NAMES)
def test_a_terminal_gets_colour_unless_it_does_not_want_it(run: Run, view: str) -> None:
    plain = run("explain", view, "--from", VECTOR).stdout
    coloured = on_a_terminal("explain", view, "--from", VECTOR)
    assert "\x1b[1m" in coloured
    assert "\x1b[1;33m" in coloured
    assert on_a_terminal("explain", view, "--from", VECTOR, NO_COLOR="1") == plain
    assert on_a_terminal("explain", view, "--from", VECTOR, TERM="dumb") == plain


def test_a_picture(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "ladder.svg"
    result = run("explain", "ladder", "--from", VECTOR, "--connection", "1", "--svg", target)
    assert (result.exit_code, result.stdout) == (0, "")
    texts = [element.text for element in ElementTree.parse(target).iter() if element.text]
    assert "connection 1, tcp, virtual server web" in texts
    assert "to 10.0.2.11:8080" in texts
    nowhere = run("explain", "ladder", "--from", VECTOR, "--svg", tmp_path / "no" / "x.svg")
    assert nowhere.exit_code == 1
    assert nowhere.stderr.endswith("x.svg: No such file or directory\n")


def test_stdin_is_read_as_it_comes() -> None:
    lines = VECTOR.read_bytes().splitlines(keepends=True)
    with subprocess.Popen(
        [sys.executable, "-m", "lb_switch", "explain", "story", "--from", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**_clean_environment(), "LC_ALL": "C.UTF-8"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        upto = next(i for i, line in enumerate(lines) if b'"number":1,"verdict"' in line)
        process.stdin.write(b"".join(lines[: upto + 1]))
        process.stdin.flush()
        # The first packet is told although the recording goes on.
        while not process.stdout.readline().startswith(b"    state (none)"):
            assert process.poll() is None
        process.stdin.close()
        assert b"cut off after line" in process.stderr.read()
        assert process.wait(30) == 1


def test_states_and_schema(run: Run) -> None:
    assert run("explain", "states").stdout.count("forgotten after") == 7
    assert run("explain", "states", "--mermaid").stdout.startswith("stateDiagram-v2\n")
    assert '"PacketRecord"' in run("explain", "schema").stdout


def test_help_names_the_views(run: Run) -> None:
    text = run("explain", "-h").stdout
    for name in (*NAMES, "choice", "states", "schema"):
        assert name in text
        assert run("explain", name, "-h").exit_code == 0
