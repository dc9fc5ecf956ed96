"""`lb-switch check`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_valid_file(run: Run, config: Path) -> None:
    result = run("check", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{config}: valid: 1 virtual server, 2 real servers\n"


def test_all_errors_on_stderr_exactly(run: Run, config: Path) -> None:
    config.write_text(
        '[[virtual_server]]\nname = "web"\naddress = "10.0.1.100:80"\nscheduler = "rrr"\nsnap = 1\n'
    )
    result = run("check", config)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "virtual_server[0].scheduler: 'rrr' is none of rr, wrr, lc, wlc, sh, mh\n"
        "virtual_server[0].snap: unknown key; did you mean 'snat'?\n"
    )


def test_a_missing_file(run: Run, tmp_path: Path) -> None:
    result = run("check", tmp_path / "no.toml")
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path / 'no.toml'}: no such file or directory\n"


def test_the_json_schema(run: Run) -> None:
    result = run("check", "--schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert set(schema["properties"]) == {"switch", "virtual_server", "hosts"}


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_a_hash_key_that_everybody_knows(run: Run, config: Path, scheduler: str) -> None:
    """A key to paste is proposed, another one each time; with one there is nothing to say."""
    text = config.read_text()
    text = text.replace('name = "web"', f'name = "web"\nscheduler = "{scheduler}"')
    config.write_text(text)
    proposals = set()
    for _ in range(2):
        result = run("check", config)
        assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
        note, table, proposal = result.stderr.splitlines()
        assert "without a secret hash_key" in note
        assert table == "[switch]"
        assert len(tomllib.loads(proposal)["hash_key"]) >= 32
        proposals.add(proposal)
    assert len(proposals) == 2
    config.write_text(f"{table}\n{proposal}\n{text}")
    assert run("check", config).stderr == ""
