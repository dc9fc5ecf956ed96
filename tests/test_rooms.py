"""The maps of the house say what stands there: the package's docstring and the README."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import lb_switch
import lb_switch.engine

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lb_switch"


def rooms(folder: Path) -> set[str]:
    """Return the folders (with a slash) and files of a package."""
    files = {path.name for path in folder.glob("*.py") if not path.name.startswith("__")}
    folders = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    return files | folders


def listed(docstring: str | None) -> set[str]:
    assert docstring is not None
    return set(re.findall(r"^    ([a-z_]+(?:/|\.py)) ", docstring, re.MULTILINE))


@pytest.mark.parametrize(
    ("folder", "docstring"),
    [(PACKAGE, lb_switch.__doc__), (PACKAGE / "engine", lb_switch.engine.__doc__)],
    ids=["package", "engine"],
)
def test_a_docstring_lists_what_stands_there(folder: Path, docstring: str | None) -> None:
    assert listed(docstring) == rooms(folder)


def test_the_readme_lists_what_stands_there() -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("| folder or file of `lb_switch/`") :].partition("\n\n")[0]
    first_cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)} == rooms(
        PACKAGE
    )


def test_every_room_says_in_some_lines_what_lives_there() -> None:
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text is not None, path
        assert len(text.splitlines()) >= 3, path
