"""The systemd unit: what it promises, that systemd understands it, and that it can be installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from lb_switch.service.unit import CONFIG, NAME, unit
from tests.cli.conftest import run as run  # noqa: PLC0414 - a fixture

Run = Callable[..., Result]


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    pairs = [line.partition("=") for line in lines]
    assert len({key for key, _, _ in pairs}) == len(pairs), "each key once"
    return {key: value for key, _, value in pairs}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that can be run, where `lb-switch` would be beside its Python."""
    path = tmp_path / "bin" / "lb-switch"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", os.fspath(path.with_name("python3")))
    return path


def test_it_is_ready_when_it_says_so_and_has_two_capabilities() -> None:
    found = settings(unit(Path("/usr/bin/lb-switch")))
    assert found["Type"] == "notify"
    assert found["ExecStart"] == "/usr/bin/lb-switch run /etc/lb-switch/lb.toml"
    assert found["ExecReload"] == "/usr/bin/lb-switch reload --config /etc/lb-switch/lb.toml"
    assert found["CapabilityBoundingSet"] == "CAP_NET_ADMIN CAP_NET_RAW"
    assert found["NoNewPrivileges"] == "yes"


def test_what_would_break_the_switch_is_not_asked_for() -> None:
    found = settings(unit(Path("/usr/bin/lb-switch")))
    assert found["ProtectKernelTunables"] == "no", "sysctls below /proc/sys/net are written"
    assert "ProcSubset" not in found, "and /proc/net is read"
    assert "PrivateDevices" not in found, "it would hide /dev/net/tun"
    assert found["DeviceAllow"] == "/dev/net/tun rw"
    assert found["RuntimeDirectoryPreserve"] == "yes", "the journal must outlive a crash"


def test_the_journal_and_the_socket_lie_in_the_runtime_directory() -> None:
    from lb_switch.config.schema import DEFAULT_CONTROL_SOCKET
    from lb_switch.host.setup import DEFAULT_DIRECTORY

    directory = Path("/run") / settings(unit(Path("/x")))["RuntimeDirectory"]
    assert directory == DEFAULT_DIRECTORY
    assert Path(DEFAULT_CONTROL_SOCKET).parent == directory


def test_paths_are_quoted() -> None:
    found = settings(unit(Path('/opt/my "lb"/lb-switch'), Path("/etc/100%.toml")))
    assert found["ExecStart"] == '"/opt/my \\"lb\\"/lb-switch" run /etc/100%%.toml'


@pytest.mark.parametrize("path", ["relative", "/two\nlines"])
def test_impossible_paths(path: str) -> None:
    with pytest.raises(ValueError, match="is not an absolute path"):
        unit(Path(path))


def test_print_and_install(run: Run, program: Path, tmp_path: Path) -> None:
    printed = run("service", "print")
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert f"ExecStart={program} run {CONFIG}\n" in printed.stdout
    installed = run("service", "install", "--directory", tmp_path)
    assert installed.exit_code == 0
    assert "systemctl daemon-reload" in installed.stdout
    assert (tmp_path / NAME).read_text() == printed.stdout


def test_another_configuration(run: Run, program: Path) -> None:
    printed = run("service", "print", "--config", "/srv/lb.toml").stdout
    assert f"{program} run /srv/lb.toml\n" in printed
    assert f"{program} reload --config /srv/lb.toml\n" in printed
    assert not re.search(rf"^[^#].*{CONFIG}", printed, re.MULTILINE)


def test_what_cannot_be_done_is_one_clear_line(run: Run, program: Path, tmp_path: Path) -> None:
    result = run("service", "install", "--directory", tmp_path / "none")
    assert result.exit_code == 1
    assert result.stderr == (
        f"lb-switch: cannot write {tmp_path}/none/{NAME}: No such file or directory\n"
    )
    program.unlink()
    result = run("service", "print")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "is missing" in result.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_it(program: Path, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(unit(program))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    complaints = [line for line in done.stderr.splitlines() if "lb-switch" in line]
    assert (done.returncode, complaints) == (0, [])
