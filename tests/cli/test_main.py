"""Help, versions, exit codes, and one clear line for every error."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import click
import pytest

from lb_switch.cli import main as main_module
from lb_switch.cli.main import COMMANDS, Commands
from tests.cli.conftest import Run
from tests.support.pipes import expect_silence_without_a_reader

PYTHON_M = [sys.executable, "-m", "lb_switch"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command(run: Run, flag: str) -> None:
    result = run(flag)
    assert result.exit_code == 0
    assert re.findall(r"^  (\w+) ", result.stdout.split("Commands:")[1], re.M) == list(COMMANDS)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize("group", ["bench", "explain", "lab", "service"])
def test_no_command_of_a_group_is_described_by_half_a_sentence(run: Run, group: str) -> None:
    assert "..." not in run(group, "-h").stdout.split("Commands:")[1]


LAB_COMMANDS = ["up", "down", "list", "exec", "show"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    "command", [[name] for name in COMMANDS] + [["lab", name] for name in LAB_COMMANDS]
)
def test_every_command_has_help_with_an_example(run: Run, command: list[str], flag: str) -> None:
    result = run(*command, flag)
    assert result.exit_code == 0
    assert re.search(r"Examples?:\n +(sudo )?lb-switch " + " ".join(command), result.stdout)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"lb-switch \S.*\n", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "lb-switch: Missing command. (lb-switch -h)"),
        (["lab"], "lb-switch: Missing command. (lb-switch lab -h)"),
        (["balance"], "lb-switch: No such command 'balance'. (lb-switch -h)"),
        (["run"], "lb-switch: Missing argument 'CONFIG'. (lb-switch run -h)"),
        (["check"], "lb-switch: Missing argument 'CONFIG'. (lb-switch check -h)"),
        (
            ["lab", "exec", "c1"],
            "lb-switch: Missing argument 'PROGRAM'. (lb-switch lab exec -h)",
        ),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(run: Run, arguments: list[str], line: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line + "\n")


def test_an_unknown_option(run: Run) -> None:
    result = run("show", "--colour")
    assert result.exit_code == 2
    assert re.fullmatch(
        r"lb-switch: No such option:? '?--colour'?.* \(lb-switch show -h\)\n", result.stderr
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command
    def command() -> None:
        raise ValueError("a bug\nin two lines \x1b[2J")

    def get_command(_self: Commands, _context: Any, _name: str) -> click.Command:
        return command

    monkeypatch.setattr(main_module.Commands, "get_command", get_command)


@pytest.mark.usefixtures("failing")
def test_a_bug_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LB_SWITCH_DEBUG", raising=False)
    result = run("show")
    assert result.exit_code == 1
    assert result.stderr == (
        "lb-switch: internal error: ValueError: a bug in two lines \\x1b[2J"
        " (LB_SWITCH_DEBUG=1 shows where)\n"
    )


@pytest.mark.usefixtures("failing")
def test_the_traceback_on_demand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LB_SWITCH_DEBUG", "1")
    told = run("show").stderr
    assert "Traceback" in told
    assert "in two lines \\x1b[2J" in told
    assert "\x1b" not in told, "what a stranger wrote reaches the terminal"


def test_a_reader_who_had_enough_is_no_error() -> None:
    script = '"$@" check --schema | head -n 1; echo "${PIPESTATUS[0]}"'
    result = subprocess.run(
        ["bash", "-c", script, "bash", *PYTHON_M], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("{\n0\n", "")


def test_a_closed_pipe_is_silent() -> None:
    expect_silence_without_a_reader([*PYTHON_M, "check", "--schema"])


@pytest.mark.parametrize("arguments", [["check", "--schema"], ["explain", "states"]])
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*PYTHON_M, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr == "lb-switch: cannot write the output: No space left on device\n"


def test_help_comes_without_the_slow_imports() -> None:
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from lb_switch.cli.main import main\n"
        "for name in sys.argv[1:]:\n"
        "    assert CliRunner().invoke(main, [name, '--help']).exit_code == 0\n"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *COMMANDS], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "click" in loaded
    assert not loaded & {"pydantic", "scapy", "pytun", "netfilterqueue", "asyncio", "subprocess"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("explain states", 0),
        ("check --schema", 0),
        ("explain story --example", 0),
        ("doctor", 0),
        ("--version", 0),
        ("check /does/not/exist", 2),
        ("no-such-command", 2),
    ],
)
def test_standard_files_that_are_closed(closed: str, command: str, code: int) -> None:
    program = shlex.join(PYTHON_M)
    done = subprocess.run(
        ["sh", "-c", f"{program} {command} {closed}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "internal error" not in done.stdout + done.stderr
    if "2>" in closed:
        assert done.stderr == ""
    if closed.startswith(">") or " >" in closed:
        assert done.stdout == ""
