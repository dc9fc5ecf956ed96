"""Root stands in a folder of somebody else's: nothing there is imported or called, live."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import pytest

from netns_lab.programs import lb_switch
from netns_lab.state import lab_directory
from tests.test_interpreter import trap

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_a_lab_and_a_switch_that_explains(tmp_path: Path, capture: str) -> None:
    mark, environment = trap(tmp_path)
    prefix = f"lbt{uuid.uuid4().hex[:5]}-"

    def call(*arguments: str) -> str:
        return subprocess.run(
            [*lb_switch(), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    call("lab", "up", "--prefix", prefix, "--capture", capture)
    try:
        written = lab_directory(prefix) / "switch.toml"
        (tmp_path / "switch.toml").write_bytes(written.read_bytes())
        call("lab", "down", "--prefix", prefix)
        call("lab", "up", "--prefix", prefix, "--no-switch")
        run = [*lb_switch(), "lab", "exec", "--prefix", prefix, "switch", *lb_switch(), "run"]
        options = ["switch.toml", "--capture", capture, "--explain", "--record", "rec.jsonl"]
        output = tmp_path / "output"
        with output.open("wb") as out:
            switch = subprocess.Popen([*run, *options], cwd=tmp_path, env=environment, stdout=out)
        try:
            deadline = time.monotonic() + 20
            while b"serving" not in output.read_bytes():
                assert switch.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            answer = call(
                "lab", "exec", "--prefix", prefix, "c1", "curl", "-s", "http://10.0.1.100/"
            )
            assert "s1" in answer
        finally:
            switch.terminate()
            assert switch.wait(20) == 0
        assert "10.0.1.100" in output.read_text()
        assert "connection" in (tmp_path / "rec.jsonl").read_text()
    finally:
        call("lab", "down", "--prefix", prefix)
    assert not mark.exists(), mark.read_text()
