"""`lb-switch run`: what it refuses; and, in a namespace, that it serves and cleans up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_switch.cli import output_files, privileges
from tests.cli.conftest import Run

PYTHON_M = [sys.executable, "-m", "lb_switch"]


def test_a_bad_configuration(run: Run, config: Path) -> None:
    config.write_text("[switch]\nqueue = -1\n")
    result = run("run", config)
    assert (result.exit_code, result.stderr) == (2, "switch.queue: -1 must be at least 0\n")


@pytest.mark.parametrize(
    ("capture", "names"),
    [("tun", "CAP_NET_ADMIN"), ("nfqueue", "CAP_NET_ADMIN and CAP_NET_RAW")],
)
def test_without_capabilities_it_names_them_and_the_command(
    run: Run,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capture: str,
    names: str,
) -> None:
    status = tmp_path / "status"
    status.write_text("CapEff:\t0000000000000000\n")
    monkeypatch.setattr(privileges, "STATUS", status)
    monkeypatch.setattr(sys, "argv", ["lb-switch", "run", "lb.toml", "--capture", capture])
    result = run("run", config, "--capture", capture)
    assert result.exit_code == 1
    assert result.stderr == (
        f"lb-switch: {names} missing: sudo lb-switch run lb.toml --capture {capture}\n"
    )


@pytest.mark.parametrize("option", ["--record", "--write-pcap"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none/x", "No such file or directory"),
        ("file/x", "Not a directory"),
        ("folder", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_anything_is_done(
    run: Run, config: Path, tmp_path: Path, option: str, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    result = run("run", config, option, tmp_path / name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"lb-switch: {tmp_path / name}: {why}\n"


def test_a_file_that_can_be_written_is_not_touched_by_looking(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("as it was")
    for path in (there, tmp_path / "new", Path("/dev/null"), Path("-"), None):
        output_files.check_writable(path)
    assert there.read_text() == "as it was"
    assert not (tmp_path / "new").exists()


@pytest.fixture
def in_namespace(tmp_path: Path) -> Iterator[list[str]]:
    """Return the command prefix that runs a program between a client and a server side."""
    if not privileges.effective() >= {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}:
        assert os.environ.get("CI") != "true", "CI must be able to make network namespaces"
        pytest.skip("needs root")
    assert shutil.which("unshare")
    script = (
        "set -e\n"
        "ip link add clients type veth peer name clients-end; ip addr add 10.0.1.1/24 dev clients\n"
        "ip link add servers type veth peer name servers-end; ip addr add 10.0.2.1/24 dev servers\n"
        "ip link set clients up; ip link set servers up; ip link set lo up\n"
        "echo ready; exec cat\n"
    )
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "ready\n"
        yield ["nsenter", "-n", "-t", str(holder.pid)]
        holder.stdin.close()


def rules(in_namespace: list[str]) -> str:
    commands = "ip rule; ip route show table all; ip -br link; iptables-save; true"
    done = subprocess.run(
        [*in_namespace, "sh", "-c", commands], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.netns
@pytest.mark.parametrize(
    ("capture", "named_by"), [("tun", "file"), ("nfqueue", "file"), ("tun", "environment")]
)
def test_it_serves_refuses_a_second_and_cleans_up(
    in_namespace: list[str],
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capture: str,
    named_by: str,
) -> None:
    control_socket = tmp_path / "c.sock"
    if named_by == "file":
        config.write_text(f'[switch]\ncontrol_socket = "{control_socket}"\n' + config.read_text())
        monkeypatch.setenv("LB_SWITCH_SOCKET", f"{tmp_path}/unused")
    else:
        monkeypatch.setenv("LB_SWITCH_SOCKET", str(control_socket))
    command = [*in_namespace, *PYTHON_M, "run", str(config), "--capture", capture]
    before = rules(in_namespace)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line == (
            f"lb-switch: serving web 10.0.1.100:80 (rr, 2 real servers) through {capture}\n"
        ), process.stderr.read()
        assert rules(in_namespace) != before
        shown = subprocess.run(
            [*PYTHON_M, "show", "--socket", str(control_socket)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "TCP  10.0.1.100:80 rr" in shown.stdout
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 1
        assert second.stderr == (
            f"lb-switch: another lb-switch is running (it owns {control_socket})\n"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    assert not control_socket.exists()
    assert rules(in_namespace) == before


@pytest.mark.netns
@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_it_refuses_to_start_and_leaves_nothing(
    in_namespace: list[str], config: Path, tmp_path: Path, capture: str
) -> None:
    """A real server without a route; and a recording that fails only when it is opened."""
    folder = tmp_path / "run" / "of-its-own"
    text = f'[switch]\ncontrol_socket = "{folder}/c.sock"\n' + config.read_text()
    command = [*in_namespace, *PYTHON_M, "run", str(config), "--capture", capture]
    before = rules(in_namespace)
    trap = tmp_path / "trap"
    trap.symlink_to(tmp_path / "none" / "file")
    for changed, options, why in (
        (text.replace("10.0.2.11", "192.0.2.11"), [], "192.0.2.11"),
        (text, ["--record", str(trap)], f"{trap}: No such file or directory"),
        (text, ["--write-pcap", str(trap)], f"{trap}: No such file or directory"),
    ):
        config.write_text(changed)
        told = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert (told.returncode, told.stdout) == (1, ""), told
        assert why in told.stderr
        assert not (tmp_path / "run").exists()
    assert rules(in_namespace) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to come so far")
def test_too_few_descriptors_are_said_before_anything_is_changed(config: Path) -> None:
    """With fewer it would come up, and could not run what takes its rules back."""
    told = subprocess.run(
        ["sh", "-c", f"ulimit -n 40; exec {sys.executable} -P -m lb_switch run {config}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "lb-switch: needs 64 file descriptors, and may have 40: raise ulimit -n\n"
    )


def test_a_low_limit_that_may_be_raised_is() -> None:
    program = (
        "import resource\n"
        "from lb_switch.cli.privileges import require_descriptors\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))\n"
        "require_descriptors(64)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout == b"64\n"
