"""Text fits its terminal, and colour stays away from whoever did not ask for it."""

import io

import pytest

from netns_lab.scenarios.narration import Narrator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[" in Narrator(Terminal()).marked("text")


def test_a_file_gets_none() -> None:
    assert Narrator(io.StringIO()).marked("text") == "text"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nor_does_a_terminal_that_declines(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert Narrator(Terminal()).marked("text") == "text"


def test_paragraphs_are_filled_and_parts_are_one_blank_line_apart() -> None:
    stream = io.StringIO()
    narrator = Narrator(stream)
    narrator.say("word " * 40)
    narrator.command("cat file")
    narrator.block(["as", "  it is"], output=True)
    narrator.block(["another"])
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-6:] == ["", "    $ cat file", "    as", "      it is", "", "    another"]
