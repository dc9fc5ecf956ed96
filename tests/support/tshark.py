"""What tshark, and so Wireshark, makes of a capture file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKSUMS = [
    option for name in ("ip", "tcp", "udp") for option in ("-o", f"{name}.check_checksum:TRUE")
]


def need_tshark() -> None:
    """Skip without tshark; under CI, fail."""
    if shutil.which("tshark") is None:
        assert os.environ.get("CI") != "true", "CI must have tshark (scripts/setup test)"
        pytest.skip("needs tshark")


def run(path: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Nn", *CHECKSUMS, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HOME": str(path.parent)},
    )
    assert done.returncode == 0, done.stderr
    complaints = [
        line for line in done.stderr.splitlines() if not line.startswith("Running as user")
    ]
    assert complaints == []
    return done.stdout


def rows(path: Path, *fields: str, only: str = "") -> list[tuple[str, ...]]:
    """Return these fields of every packet that passes the display filter."""
    arguments = [argument for field in fields for argument in ("-e", field)]
    if only:
        arguments += ["-Y", only]
    lines = run(path, "-T", "fields", *arguments).splitlines()
    return [tuple(line.split("\t")) for line in lines]


def expert(path: Path) -> dict[str, dict[str, int]]:
    """Return `-z expert`: severity -> summary -> frequency, without the packets' comments."""
    found: dict[str, dict[str, int]] = {}
    severity = ""
    for line in run(path, "-q", "-z", "expert").splitlines():
        head = re.fullmatch(r"(\w+) \(\d+\)", line)
        if head:
            severity = head[1]
        entry = re.fullmatch(r" +(\d+) +\S+ +\S+ +(.*)", line)
        if entry and severity != "Comments":
            found.setdefault(severity, {})[entry[2]] = int(entry[1])
    return found
