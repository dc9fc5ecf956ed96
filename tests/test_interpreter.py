"""No code from the current directory is run, whoever is there before root."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lb_switch import interpreter
from lb_switch.cli.main import main
from netns_lab import programs

ROOT = Path(__file__).resolve().parent.parent
PLACES = {
    "lb_switch/interpreter.py",
    "netns_lab/programs.py",
    "lb_switch/cli/commands/service.py",  # the folder of the command `lb-switch`
}
"""Who may ask where Python is."""

BAITS = ("lb_switch", "netns_lab", "netfilterqueue", "pytun", "click", "scapy", "json", "socket")


def trap(folder: Path) -> tuple[Path, dict[str, str]]:
    """Lay modules that leave a mark when they are imported, and programs when they are called."""
    mark = folder / "mark"
    for name in BAITS:
        package = folder / name
        package.mkdir()
        (package / "__init__.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    for name in ("ip", "iptables", "sysctl", "unshare", "sh"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\n")
        (folder / name).chmod(0o755)
    path = os.environ["PATH"]
    return mark, dict(os.environ, PATH=f".::{path}:", PYTHONPATH="")


def test_only_one_place_in_each_package_starts_a_python() -> None:
    asking = {
        str(path.relative_to(ROOT))
        for package in ("lb_switch", "netns_lab")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"executable", "_base_executable"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    }
    assert asking == PLACES


@pytest.mark.parametrize("path", [":/nowhere", "/nowhere:", ".", ""])
def test_processes_of_our_own_search_no_folder_that_the_current_one_decides(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    CliRunner().invoke(main, ["--version"])
    assert os.environ.get("PYTHONPATH") == ("/nowhere" if "/nowhere" in path else None)


@pytest.mark.parametrize("package", ["lb_switch", "netns_lab"])
def test_no_python_is_called_by_name(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.List | ast.Tuple) and node.elts:
                first = node.elts[0]
                word = first.value if isinstance(first, ast.Constant) else ""
                assert not str(word).startswith("python") or "." not in str(word)
                assert word not in {"python", "python3"}, f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "command",
    [
        interpreter.module("lb_switch.bench", "nothing"),
        interpreter.module("lb_switch", "--version"),
        interpreter.code("import click, json, lb_switch"),
        programs.module("netns_lab.client", "-h"),
        [*programs.lb_switch(), "doctor"],
        [*programs.lb_switch(), "bench", "engine", "packets", "--quick"],
    ],
    ids=["module", "version", "code", "lab", "doctor", "bench"],
)
def test_nothing_is_imported_from_the_current_directory(tmp_path: Path, command: list[str]) -> None:
    mark, environment = trap(tmp_path)
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert not mark.exists(), mark.read_text()


def test_the_trap_works(tmp_path: Path) -> None:
    """Or the tests above could not fail."""
    mark, environment = trap(tmp_path)
    unsafe = [sys.executable, "-c", "import click"]
    subprocess.run(unsafe, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert mark.read_text() == "click"
    subprocess.run(["sh", "-c", "ip"], cwd=tmp_path, env=environment, check=False)
    assert mark.read_text() == "clicksh\n"


def test_folders_that_the_current_directory_decides() -> None:
    assert interpreter.absolute(".::/usr/bin:bin:/sbin:") == "/usr/bin:/sbin"
    assert interpreter.absolute("") == ""
