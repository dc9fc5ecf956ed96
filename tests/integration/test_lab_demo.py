"""The demo, run as a program: its story, its exit codes, its clean-up."""

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.storyteller import Storyteller, storyteller

pytestmark = pytest.mark.netns

NAME = "scripts/demo"
ARGV = [sys.executable, "-m", "netns_lab.scenarios.demo"]


@pytest.fixture
def demo() -> Iterator[Storyteller]:
    """A demo to be started."""
    with storyteller(NAME, ARGV) as mine:
        yield mine


@pytest.fixture(scope="module")
def transcript() -> str:
    """The whole demo, once, into a file."""
    with storyteller(NAME, ARGV) as mine:
        return mine.listen(110)


def test_it_fits_80_columns_and_is_plain_text(transcript: str) -> None:
    assert max(map(len, transcript.splitlines())) <= 80
    assert transcript.isascii()
    assert "\x1b" not in transcript


def test_it_tells_the_whole_story(transcript: str) -> None:
    assert "capture tun, scheduler rr" in transcript
    assert "capture nfqueue, scheduler sh" in transcript
    for client in ("c1", "c2"):
        assert f"{client}  http://10.0.1.100/     s1 s2 s1 s2 s1 s2   s1 3x, s2 3x" in transcript
    assert "destination     10.0.1.100:80            => 10.0.2.1" in transcript
    assert "source          10.0.1.100:80            <= 10.0.2.1" in transcript
    assert "TTL             64                       => 63" in transcript
    assert "WRONG" not in transcript
    assert "$ lb-switch show connections" in transcript
    assert "ESTABLISHED 10.0.1.12:" in transcript
    assert transcript.count("-> RemoteAddress:Port") == 2


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colour_unless_it_declines(
    environment: dict[str, str], coloured: bool
) -> None:
    with storyteller(NAME, [*ARGV, "--capture", "tun"]) as demo:
        told = demo.on_a_terminal("real server of the group", **environment)
    assert ("\x1b[" in told) is coloured


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["lb-switch: a", "virtual: clients", "who answered", "show"])
def test_an_interruption_at_any_moment_cleans_up(
    demo: Storyteller, moment: str, number: signal.Signals
) -> None:
    demo.interrupt(moment, number)


def test_a_reader_that_goes_away_ends_it_quietly(demo: Storyteller) -> None:
    demo.desert()
