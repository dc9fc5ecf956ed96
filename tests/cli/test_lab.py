"""`lb-switch lab`: what is handed to `netns_lab`, and what is made of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lb_switch.cli.commands import web
from netns_lab import capability, lab
from netns_lab.errors import LabError, UnknownNameError
from netns_lab.lab import Lab
from netns_lab.scenarios.catalogue import SCENARIOS
from netns_lab.topologies import TOPOLOGIES
from tests.cli.conftest import Run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record what is called instead of doing it."""
    calls: list[tuple[Any, ...]] = []

    def recorder(name: str, answer: object) -> Any:
        def record(*arguments: object, **options: object) -> object:
            calls.append((name, *arguments, *options.items()))
            return answer

        return record

    summary = lab.LabSummary("lb-", "textbook", "tun", 42, ("switch", "c1"), Path("/run/x"), True)
    for name, answer in {
        "up": None,
        "down": True,
        "list_labs": [summary],
        "exec_in": 7,
        "show": "the picture\n",
    }.items():
        monkeypatch.setattr(lab, name, recorder(name, answer))
    monkeypatch.setattr(capability, "missing", lambda: None)
    return calls


def test_up(run: Run, calls: list[tuple[Any, ...]]) -> None:
    result = run("lab", "up", "--capture", "nfqueue", "--scheduler", "wlc", "--prefix", "x-")
    assert (result.exit_code, result.stdout) == (0, "the picture\n")
    options: tuple[tuple[str, Any], ...] = (
        ("capture", "nfqueue"),
        ("scheduler", "wlc"),
        ("switch", True),
        ("health", "http"),
        ("run_options", []),
    )
    assert calls == [("up", "textbook", "x-", *options), ("show", "x-")]


@pytest.mark.parametrize(
    ("command", "heading", "summaries"),
    [
        ("up", "Topologies", {each.name: each.summary for each in TOPOLOGIES.values()}),
        ("run", "Scenarios", {each.name: each.summary for each in SCENARIOS.values()}),
    ],
)
def test_the_help_lists_what_there_is(
    run: Run, command: str, heading: str, summaries: dict[str, str]
) -> None:
    result = run("lab", command, "-h")
    _, _, listed = result.stdout.partition(f"\n{heading}:\n")
    assert result.exit_code == 0
    words = " ".join(listed.partition("\n\nOptions:\n")[0].split())
    assert words == " ".join(f"{name} {summary}" for name, summary in summaries.items())


def test_down(run: Run, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("lab", "down").stdout == "the lab lb- is removed\n"
    monkeypatch.setattr(lab, "down", lambda _prefix: False)
    result = run("lab", "down")
    assert (result.exit_code, result.stdout) == (0, "there was no lab lb-\n")


@pytest.mark.usefixtures("calls")
def test_list(run: Run) -> None:
    assert run("lab", "list").stdout.split() == [
        "lb-",
        "textbook",
        "switch",
        "42",
        "(tun)",
        "switch",
        "c1",
    ]


def test_exec_hands_everything_on_and_takes_the_exit_code(
    run: Run, calls: list[tuple[Any, ...]]
) -> None:
    assert run("lab", "exec", "c1", "curl", "-h", "--prefix", "no").exit_code == 7
    assert calls == [("exec_in", "lb-", "c1", ("curl", "-h", "--prefix", "no"))]


@pytest.mark.usefixtures("calls")
def test_errors_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in ((LabError("it broke"), 1), (UnknownNameError("no such lab"), 2)):

        def fail(_prefix: str, error: Exception = error) -> str:
            raise error

        monkeypatch.setattr(lab, "show", fail)
        result = run("lab", "show")
        assert (result.exit_code, result.stderr) == (code, f"lb-switch: {error}\n")


@pytest.mark.usefixtures("calls")
def test_a_missing_capability(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "missing", lambda: "needs CAP_NET_ADMIN")
    result = run("lab", "up")
    assert (result.exit_code, result.stderr) == (1, "lb-switch: needs CAP_NET_ADMIN\n")


def test_web_shows_the_switch_of_the_lab(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(lab, "attach", lambda prefix: Lab(prefix=prefix))
    monkeypatch.setattr(web, "show", lambda path, **serving: shown.append((path, serving)))
    monkeypatch.setattr(capability, "missing", lambda: None)
    assert run("lab", "web", "--prefix", "demo-", "--listen", "0", "--read-only").exit_code == 0
    ((path, serving),) = shown
    assert path == Lab(prefix="demo-").control_socket
    assert serving["lab"] is not None
    assert (serving["listen"], serving["read_only"]) == ("0", True)


def test_web_without_a_lab_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "missing", lambda: None)
    result = run("lab", "web", "--prefix", "nobody-")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "nobody-" in result.stderr
