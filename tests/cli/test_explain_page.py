"""`lb-switch explain page`: a recording as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lb_switch import examples
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import ConnectionRecord, PacketRecord, ServerRecord
from tests.cli.conftest import Run
from tests.web.test_single_file import Parts


def test_the_command(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "story.html"
    result = run("explain", "page", "--example", "--connection", "2", "-o", target)
    assert (result.exit_code, result.output) == (0, f"{target}: open it with a browser\n")
    kept = json.loads(Parts(target.read_text()).of("script")[0][1])
    assert list(kept["connections"]) == ["2"]
    result = run("explain", "page", "--example", "-o", tmp_path / "no" / "x.html")
    assert (result.exit_code, result.stderr) == (
        1,
        f"lb-switch: {tmp_path}/no/x.html: No such file or directory\n",
    )


@pytest.mark.parametrize("name", list(examples.RECORDINGS))
def test_each_recording_that_comes_with_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("explain", "page", "--example", name)
    assert (result.exit_code, result.output) == (0, f"{name}.html: open it with a browser\n")
    kept = json.loads(Parts((tmp_path / f"{name}.html").read_text()).of("script")[0][1])
    assert kept["packets"]
    unknown = run("explain", "page", "--example", f"{name}x")
    assert unknown.exit_code == 2
    assert "failover" in unknown.stderr


def reasons(name: str) -> set[str]:
    with examples.recording(name).open("rb") as file:
        recording = Recording(file, name)
        return {each.reason for each in recording if isinstance(each, PacketRecord)}


def changes(name: str) -> list[tuple[str, str, bool]]:
    with examples.recording(name).open("rb") as file:
        return [
            (each.changed, each.real_server.state, each.real_server.healthy)
            for each in Recording(file, name)
            if isinstance(each, ServerRecord)
        ]


def test_the_recordings_show_what_they_say() -> None:
    assert changes("failover") == [("health", "ready", False), ("health", "ready", True)]
    assert changes("drain") == [("state", "drain", True), ("state", "ready", True)]
    assert "icmp_error" in reasons("path-mtu")
    assert "ended_connection" in reasons("syn-flood")
    with examples.recording("syn-flood").open("rb") as file:
        causes = [
            each.cause for each in Recording(file, "flood") if isinstance(each, ConnectionRecord)
        ]
    assert causes.count("table_full") >= 20
    with examples.recording("one-arm").open("rb") as file:
        sources = {
            each.connection.source
            for each in Recording(file, "one-arm")
            if isinstance(each, ConnectionRecord)
        }
    assert all(source and source.startswith("10.0.1.200:") for source in sources)
