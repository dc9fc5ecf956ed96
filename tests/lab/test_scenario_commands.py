"""`lab run`, `lab scenarios`, and how a story ends: exit code, clean-up, one line of complaint."""

import signal
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from lb_switch.cli.main import main
from lb_switch.config.load import load
from netns_lab import capability
from netns_lab.config import switch_config
from netns_lab.errors import LabError, UnknownNameError
from netns_lab.lab import Lab
from netns_lab.scenarios import catalogue
from netns_lab.scenarios.catalogue import SCENARIOS
from netns_lab.scenarios.performance import INTERRUPTS, perform
from netns_lab.scenarios.scenery import picture
from netns_lab.scenarios.stage import SurpriseError

NAMES = ["scale-out", "failover", "health-levels", "drain"]


def test_the_list_has_one_sentence_for_each_and_fits_80_columns() -> None:
    result = CliRunner().invoke(main, ["lab", "scenarios"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(20 < len(line) <= 80 for line in lines)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record what would be run; the story's exit code is 1."""
    runs: list[tuple[Any, ...]] = []

    def run(name: str, *, capture: str, prefix: str | None) -> int:
        runs.append((name, capture, prefix))
        return 1

    monkeypatch.setattr(catalogue, "run", run)
    monkeypatch.setattr(capability, "missing", lambda: None)
    return runs


def test_run_hands_everything_on_and_takes_the_exit_code(runs: list[tuple[Any, ...]]) -> None:
    arguments = ["lab", "run", "drain", "--capture", "nfqueue", "--prefix", "x-"]
    assert CliRunner().invoke(main, arguments).exit_code == 1
    assert CliRunner().invoke(main, ["lab", "run", "failover"]).exit_code == 1
    assert runs == [("drain", "nfqueue", "x-"), ("failover", "tun", None)]


def test_a_scenario_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "missing", lambda: None)
    result = CliRunner().invoke(main, ["lab", "run", "nonsense"])
    assert result.exit_code == 2
    assert result.stderr == f"lb-switch: no scenario 'nonsense': {', '.join(NAMES)}\n"
    with pytest.raises(UnknownNameError):
        catalogue.run("nonsense")


@pytest.mark.usefixtures("runs")
def test_run_without_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "missing", lambda: "needs CAP_NET_ADMIN")
    result = CliRunner().invoke(main, ["lab", "run", "drain"])
    assert (result.exit_code, result.stderr) == (1, "lb-switch: needs CAP_NET_ADMIN\n")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_the_switch_accepts_each_scenarios_configuration(
    name: str, capture: str, tmp_path: Path
) -> None:
    scenario = SCENARIOS[name]
    path = tmp_path / "switch.toml"
    path.write_text(
        switch_config(
            scenario.topology,
            capture=capture,
            scheduler="rr",
            control_socket=Path("/run/lb-switch/lab-x/control.sock"),
            interval=scenario.check_interval,
        )
    )
    assert len(load(path).virtual_server) == len(scenario.topology.virtual_servers)


def test_the_failover_story_says_what_the_configuration_says() -> None:
    from netns_lab.scenarios import failover

    text = switch_config(
        failover.TOPOLOGY,
        capture="tun",
        scheduler="rr",
        control_socket=Path("/x"),
        interval=SCENARIOS["failover"].check_interval,
    )
    (web,) = tomllib.loads(text)["virtual_server"]
    assert web["health_check"] == {
        "kind": "http",
        "interval": failover.CHECK_INTERVAL,
        "timeout": failover.CHECK_TIMEOUT,
        "rise": failover.RISE,
        "fall": failover.FALL,
    }


def test_the_picture_names_every_vip() -> None:
    for scenario in SCENARIOS.values():
        lines = picture(scenario.topology)
        assert max(map(len, lines)) <= 76
        assert all(str(vip) in lines[-1] for vip in scenario.topology.vips)


# --- how a story ends ----------------------------------------------------------------------------


class Removable:
    """Stands for a lab: remembers whether it was removed."""

    def __init__(self) -> None:
        self.removed = 0

    def down(self) -> None:
        self.removed += 1


@pytest.fixture
def lab() -> Iterator[Removable]:
    """Something to remove; signals are as before afterwards."""
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    yield Removable()
    for number, handler in before.items():
        signal.signal(number, handler)


def performed(lab: Removable, tell: Callable[[], bool]) -> int:
    return perform("lb-switch lab run x", cast("Lab", lab), tell)


@pytest.mark.parametrize(("met", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_the_judgement(lab: Removable, met: bool, code: int) -> None:
    assert performed(lab, lambda: met) == code
    assert lab.removed == 1


@pytest.mark.parametrize("error", [LabError("it broke"), SurpriseError("it broke")])
def test_what_breaks_is_one_line_and_code_1(
    lab: Removable, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell() -> bool:
        raise error

    assert performed(lab, tell) == 1
    assert capsys.readouterr().err == "lb-switch lab run x: it broke\n"
    assert lab.removed == 1


@pytest.mark.parametrize("number", INTERRUPTS)
def test_an_interrupt_removes_the_lab_and_impatience_does_not_prevent_it(
    lab: Removable, number: signal.Signals
) -> None:
    def tell() -> bool:
        signal.raise_signal(number)
        raise AssertionError("unreachable")

    def down() -> None:
        signal.raise_signal(number)
        lab.removed += 1

    stubborn = Removable()
    stubborn.down = down  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as ended:
        performed(stubborn, tell)
    assert ended.value.code == 128 + number
    assert lab.removed == 1
