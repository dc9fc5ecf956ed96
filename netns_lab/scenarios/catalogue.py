"""The scenarios there are, and how one is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from netns_lab.errors import UnknownNameError
from netns_lab.lab import Lab
from netns_lab.scenarios import drain, failover, health_levels, scale_out, scenery
from netns_lab.scenarios.expectations import Expectation, all_met, conclusion, table
from netns_lab.scenarios.narration import Narrator
from netns_lab.scenarios.performance import perform
from netns_lab.scenarios.stage import Stage
from netns_lab.topologies import Topology


class Scenario(NamedTuple):
    """A story: its name, one sentence, its lab, and who tells it.

    check_interval: seconds between two health checks of a real server.
    """

    name: str
    summary: str
    topology: Topology
    tell: Callable[[Stage], list[Expectation]]
    check_interval: float = 1.0


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        each.name: each
        for each in (
            Scenario(scale_out.NAME, scale_out.SUMMARY, scale_out.TOPOLOGY, scale_out.tell),
            Scenario(
                failover.NAME,
                failover.SUMMARY,
                failover.TOPOLOGY,
                failover.tell,
                failover.CHECK_INTERVAL,
            ),
            Scenario(
                health_levels.NAME,
                health_levels.SUMMARY,
                health_levels.TOPOLOGY,
                health_levels.tell,
                health_levels.CHECK_INTERVAL,
            ),
            Scenario(drain.NAME, drain.SUMMARY, drain.TOPOLOGY, drain.tell),
        )
    }
)


def run(name: str, *, capture: str = "tun", prefix: str | None = None) -> int:
    """Build the lab, tell the story on stdout, judge, clean up; the exit code.

    prefix: None is a random one.  0: all was as expected.  Raises UnknownNameError, and
    SystemExit(128 + N) for signal N.
    """
    if name not in SCENARIOS:
        raise UnknownNameError(f"no scenario {name!r}: {', '.join(SCENARIOS)}")
    scenario = SCENARIOS[name]
    lab = Lab(scenario.topology, prefix, capture=capture, check_interval=scenario.check_interval)
    narrator = Narrator(sys.stdout)
    return perform(f"lb-switch lab run {name}", lab, lambda: _tell(scenario, Stage(narrator, lab)))


def _tell(scenario: Scenario, stage: Stage) -> bool:
    narrator, lab = stage.narrator, stage.lab
    narrator.title(f"lb-switch: {scenario.name}")
    narrator.say(f"{scenario.summary[0].upper()}{scenario.summary[1:]}.")
    narrator.block(scenery.picture(scenario.topology))
    narrator.say(
        f"""A small network, all on this machine: each of these computers is a network namespace
        with an address of its own. The switch captures packets with {lab.capture}."""
    )
    lab.up()
    expectations = scenario.tell(stage)
    narrator.chapter("What was expected, and what was seen")
    narrator.block(table(expectations))
    narrator.say(narrator.marked(conclusion(expectations)))
    return all_met(expectations)
