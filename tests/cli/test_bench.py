"""`lb-switch bench`: usage, before anything is measured."""

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "--only", "tun,hapoxy"], "no contestant 'hapoxy': direct, kernel-dnat, haproxy"),
        (["bench", "--measure", "speed"], "no measure 'speed': bulk1"),
        (["bench", "engine", "speed"], "no benchmark 'speed': packets"),
        (["bench", "--rounds", "0"], "0 is not in the range"),
    ],
)
def test_a_wrong_name_or_number_is_one_line_and_exit_code_2(
    run: Run, arguments: list[str], words: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line


def test_the_engine_has_help_with_an_example(run: Run) -> None:
    result = run("bench", "engine", "--help")
    assert result.exit_code == 0
    assert "lb-switch bench engine packets" in result.stdout
