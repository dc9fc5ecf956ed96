"""The shell scripts with stand-ins for the programs of the machine: nothing is installed."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

ORDINARY = ["sh", "cat", "cut", "dirname", "sha256sum", "rm", "mkdir", "mktemp", "tail"]
ORDINARY += ["chmod"]  # for the stand-ins
NEEDED = [
    "ip",
    "sysctl",
    "iptables",
    "tcpdump",
    "ethtool",
    "curl",
    "openssl",
    "ping",
    "traceroute",
    "tshark",
    "chromium",
    "tsc",
    "promtool",
]
NEEDED += ["gcc"]

A_PYTHON = """#!/bin/sh
# Good enough: makes a .venv whose python is like itself, and writes down what pip is asked.
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin; cat "$0" >.venv/bin/python; chmod +x .venv/bin/python ;;
    *"-m pip"*) echo "$*" >>pip.log ;;
    -V) echo "Python 3.12.0" ;;
esac
"""
A_SHIM = """#!/bin/sh
echo "pyenv: ${0##*/}: command not found" >&2
exit 127
"""


class Machine:
    """A directory with a checkout's scripts, and a PATH with nothing but what is put there."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        self.programs = directory / "bin"
        self.programs.mkdir(parents=True)
        shutil.copytree(SCRIPTS, self.checkout / "scripts")
        (self.checkout / "pyproject.toml").write_text("[project]\n")
        for name in ORDINARY:
            found = shutil.which(name)
            assert found is not None
            (self.programs / name).symlink_to(found)
        for name in NEEDED:
            self.install(name, "#!/bin/sh\n")
        self.user(0)
        self.install("apt-get", '#!/bin/sh\necho "$*" >>apt.log\n')

    def install(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.install("id", f"#!/bin/sh\necho {number}\n")

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [f"scripts/{script}", *arguments],
            cwd=self.checkout,
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def log(self, name: str) -> list[str]:
        path = self.checkout / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("path", sorted(SCRIPTS.iterdir()), ids=lambda path: path.name)
def test_scripts_are_posix_sh_and_executable(path: Path) -> None:
    if path.suffix == ".txt":
        return
    assert path.read_text().startswith("#!/bin/sh\n")
    assert path.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", path], check=True)


@pytest.mark.parametrize("script", ["demo", "test", "bench", "attack"])
def test_without_root_one_line_says_what_is_missing_and_what_to_type(
    machine: Machine, script: str
) -> None:
    machine.user(1000)
    result = machine.run(script)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "CAP_NET_ADMIN" in line
    assert line.endswith(f": sudo scripts/{script}")


def test_the_first_set_up_makes_the_environment_and_the_second_does_nothing(
    machine: Machine,
) -> None:
    machine.install("python3.12", A_PYTHON)
    first = machine.run("setup")
    assert (first.returncode, first.stderr) == (0, "")
    assert "python3.12" in first.stdout
    (asked,) = machine.log("pip")
    assert asked.endswith("--constraint scripts/constraints.txt --editable .")
    second = machine.run("setup")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(machine.log("pip")) == 1


def test_the_test_extra_is_added_and_serves_the_demo_too(machine: Machine) -> None:
    machine.install("python3.12", A_PYTHON)
    for arguments in ([], ["test"], [], ["test"]):
        assert machine.run("setup", *arguments).returncode == 0
    assert [line.split()[-1] for line in machine.log("pip")] == [".", ".[test]"]


@pytest.mark.parametrize("changed", ["pyproject.toml", "scripts/constraints.txt"])
def test_a_changed_requirement_sets_up_again(machine: Machine, changed: str) -> None:
    machine.install("python3.12", A_PYTHON)
    machine.run("setup")
    with (machine.checkout / changed).open("a") as file:
        file.write("# changed\n")
    machine.run("setup")
    assert len(machine.log("pip")) == 2


def test_a_failed_installation_is_not_taken_for_done(machine: Machine) -> None:
    failing = A_PYTHON.replace('echo "$*" >>pip.log', 'echo "$*" >>pip.log; echo why >&2; exit 1')
    machine.install("python3.12", failing)
    for _ in range(2):
        result = machine.run("setup")
        assert (result.returncode, result.stderr) == (1, "why\n")
    assert len(machine.log("pip")) == 2


def test_the_newest_python_that_really_runs_is_taken(machine: Machine) -> None:
    machine.install("python3.14", A_SHIM)
    machine.install("python3.13", A_PYTHON)
    machine.install("python3.11", A_PYTHON)
    assert "bin/python3.13 " in machine.run("setup").stdout


def test_a_shim_does_not_hide_a_working_one_behind_it(machine: Machine) -> None:
    shims = machine.programs.parent / "shims"
    shims.mkdir()
    (shims / "python3.12").write_text(A_SHIM)
    (shims / "python3.12").chmod(0o755)
    machine.install("python3.12", A_PYTHON)
    result = subprocess.run(
        ["scripts/setup"],
        cwd=machine.checkout,
        env={"PATH": f"{shims}{os.pathsep}{machine.programs}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{machine.programs}/python3.12 " in result.stdout


def test_only_what_is_missing_is_installed(machine: Machine) -> None:
    machine.install("python3.12", A_PYTHON)
    (machine.programs / "tcpdump").unlink()
    (machine.programs / "ethtool").unlink()
    assert machine.run("setup").returncode == 0
    installed = {
        word
        for line in machine.log("apt")
        for word in line.split()
        if "install" in line and not word.startswith("-") and word != "install"
    }
    assert {"tcpdump", "ethtool"} <= installed
    # What a header or a certificate file shows is the real machine's and cannot be faked here.
    assert installed <= {"tcpdump", "ethtool", "ca-certificates", "libnetfilter-queue-dev"}


def test_what_cannot_be_installed_is_named(machine: Machine) -> None:
    (machine.programs / "tcpdump").unlink()
    machine.install("apt-get", "#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    result = machine.run("setup")
    assert result.returncode == 1
    assert "E: no network" in result.stderr
    assert "tcpdump" in result.stderr.splitlines()[-1]


def test_without_root_missing_packages_are_named_in_one_line(machine: Machine) -> None:
    machine.user(1000)
    (machine.programs / "tcpdump").unlink()
    result = machine.run("setup", "test")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "tcpdump" in line
    assert line.endswith("sudo scripts/setup test")


def test_no_suitable_python_is_an_error_after_apt_was_tried(machine: Machine) -> None:
    machine.install("python3", A_SHIM)
    result = machine.run("setup")
    assert result.returncode == 1
    assert any("python3-venv" in line for line in machine.log("apt"))
    assert "no Python 3.11" in result.stderr.splitlines()[-1]


def test_an_unknown_extra_is_bad_usage(machine: Machine) -> None:
    result = machine.run("setup", "everything")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)


def test_ci_runs_the_very_same_scripts() -> None:
    ci = (SCRIPTS.parent / ".ci" / "run").read_text().splitlines()
    assert "export CI=true" in ci
    assert [line for line in ci if line.startswith("scripts/")] == ["scripts/check", "scripts/test"]
