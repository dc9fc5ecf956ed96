"""The scenarios, run as programs: their figures, their exit codes, their clean-up."""

import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from netns_lab.lab import Lab
from tests.support.storyteller import Storyteller, storyteller

pytestmark = pytest.mark.netns

RUN = [sys.executable, "-m", "lb_switch", "lab", "run"]
LONGEST = 30.0
"""Seconds that a scenario may take."""


def told(name: str, capture: str) -> str:
    """Run a scenario into a file; it must end well, in time, and leave nothing behind."""
    with storyteller(f"lb-switch lab run {name}", [*RUN, name, "--capture", capture]) as scenario:
        started = time.monotonic()
        transcript = scenario.listen(90)
        assert time.monotonic() - started < LONGEST
    assert max(map(len, transcript.splitlines())) <= 80
    assert transcript.isascii()
    assert "\x1b" not in transcript
    assert transcript.endswith("All of it is as expected.\n")
    return transcript


def figures(transcript: str) -> dict[str, str]:
    """What was seen, by what it is; each of them judged `ok`."""
    _, _, conclusion = transcript.partition("What was expected, and what was seen\n\n")
    table, _, _ = conclusion.partition("\n\n")
    rows = [(line[4:38], line[39:58], line[59:73], line[74:]) for line in table.splitlines()]
    seen: dict[str, str] = {}
    what = ""
    for row in rows:
        first, _, value, mark = (cell.strip() for cell in row)
        if mark:
            assert mark == "ok"
            what = first
            seen[what] = value
        elif what and first and not value:  # the rest of a long name
            seen[f"{what} {first}"] = seen.pop(what)
            what = f"{what} {first}"
    return seen


def number(text: str) -> float:
    found = re.match(r"-?[\d.]+", text)
    assert found, text
    return float(found[0])


def test_scale_out() -> None:
    transcript = told("scale-out", "nfqueue")
    seen = figures(transcript)
    one, two, three = (
        number(seen[f"answers per second, {servers}"])
        for servers in ("1 server", "2 servers", "3 servers")
    )
    assert one <= 42  # two workers of 50 ms: 40 a second, and not more
    assert two >= 1.6 * one
    assert three >= 2.4 * one
    assert seen["requests that failed"] == "0"
    assert seen["users' packets with a server's own address"] == "0"
    assert "$ lb-switch add 10.0.1.100:80 10.0.2.13:80" in transcript


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_failover(capture: str) -> None:
    transcript = told("failover", capture)
    seen = figures(transcript)
    assert number(seen["requests begun per second"]) >= 180
    assert 0.0 < number(seen["time to detection"]) <= 0.5 * 2 + 1.0 + 0.5
    assert number(seen["failed while nobody knew"]) >= 20
    assert seen["failed requests begun after the detection"] == "0"
    assert 0.0 < number(seen["recovery after the restart"]) <= 0.5 * 2 + 0.5
    assert "x" in transcript.split("s2 is killed")[1]


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_health_levels(capture: str) -> None:
    transcript = told("health-levels", capture)
    matrix = [
        "                  icmp    tcp     http",
        "    host gone     down    down    down",
        "    program gone  up      down    down",
        "    answers 500   up      up      down",
    ]
    assert "\n".join(matrix) in transcript
    seen = figures(transcript)
    assert seen["program gone: failed, of 6 each"] == "3 0 0"
    assert seen["answers 500: failed, of 6 each"] == "3 3 0"


def test_drain() -> None:
    transcript = told("drain", "tun")
    seen = figures(transcript)
    found = re.search(r"drain (s[123])\n", transcript)
    assert found
    server = found[1]
    assert seen[f"new requests to {server} while drained"] == "0"
    assert seen["download: complete and identical"] == "yes"
    assert number(seen["download: part that came after the drain"]) >= 30
    assert seen["requests that failed, in all"] == "0"
    assert number(seen[f"requests to {server} once ready again"]) >= 1


@pytest.fixture
def failover() -> Iterator[Storyteller]:
    """A scenario to be started."""
    with storyteller("lb-switch lab run failover", [*RUN, "failover"]) as mine:
        yield mine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["on this machine", "watches", "answered", "s2 is killed"])
def test_an_interruption_at_any_moment_cleans_up(
    failover: Storyteller, moment: str, number: signal.Signals
) -> None:
    failover.interrupt(moment, number)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_gets_colour_unless_it_declines(
    failover: Storyteller, environment: dict[str, str], coloured: bool
) -> None:
    assert ("\x1b[" in failover.on_a_terminal("watches", **environment)) is coloured


def test_a_reader_that_goes_away_ends_it_quietly(failover: Storyteller) -> None:
    failover.desert()


@pytest.mark.lab(switch=False)
def test_a_server_is_killed_and_started_again(lab: Lab) -> None:
    def ask() -> dict[str, object]:
        result = lab.client("c1", "requests", "http://10.0.2.11/", "-n", "1")
        return {"answers": result["answers"], "errors": result["errors"]}

    lab.kill_server("s1")
    assert ask()["answers"] == {}
    assert "refused" in str(ask()["errors"])
    assert lab.client("c1", "requests", "http://10.0.2.12/", "-n", "1")["answers"] == {"s2": 1}
    lab.start_server("s1")
    assert ask() == {"answers": {"s1": 1}, "errors": []}
