"""From a TOML file to a `Config`, or to every error in it at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lb_switch.config.contradictions import KeyPath, find_contradictions, show_path
from lb_switch.config.schema import Config
from lb_switch.harmless import shortened


class ConfigError(Exception):
    """A configuration that cannot be used.  `lines`: every error, one clear line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


MAX_BYTES = 8 << 20
"""Bytes of a file, at the most: tens of thousands of servers."""
MAX_KEY_PARTS = 32
"""Parts of a dotted key, at the most; what the parser makes of more grows with their square."""
MAX_LINES = 100
"""Errors that are told."""
_MOST_DIGITS = 100
"""Digits of a number that is shown."""
_LONGEST_SIMILAR = 64
"""Characters of an unknown key for which a similar one is looked for."""

# Possessive, and only from where a part begins: a look at each character, wherever that leads.
_LONG_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
    rf"{{{MAX_KEY_PARTS}}}"
)


def load(path: Path) -> Config:
    """Read and validate a file.  Raises ConfigError with its errors, MAX_LINES at the most."""
    try:
        with path.open("rb") as file:
            data_read = file.read(MAX_BYTES + 1)
        if len(data_read) > MAX_BYTES:
            raise ConfigError([f"{path}: is larger than {MAX_BYTES >> 20} MiB"])
        text = data_read.decode("utf-8-sig")  # some editors begin a file with a mark (BOM)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([f"{path}: {reason[0].lower()}{reason[1:]}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}: line {line}: not UTF-8, as TOML must be"]) from None
    long_key = _LONG_KEY.search(text)
    if long_key is not None:
        line = text.count("\n", 0, long_key.start()) + 1
        raise ConfigError([f"{path}: line {line}: a key of more than {MAX_KEY_PARTS} parts"])
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: {_syntax_error(str(error), text)}"]) from None
    except RecursionError:
        raise ConfigError([f"{path}: tables or lists are nested too deeply"]) from None
    except ValueError:  # int() refuses, since it takes time that grows with the square
        line = _line_of_long_number(text)
        raise ConfigError([f"{path}: line {line}: a number has too many digits"]) from None
    return validate(data)


def validate(data: dict[str, Any]) -> Config:
    """Turn parsed TOML into a `Config`.  Raises ConfigError with all errors, in file order."""
    problems: list[tuple[KeyPath, str | ErrorDetails]] = [
        (problem.path, problem.text) for problem in find_contradictions(data)
    ]
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += [
            (tuple(details["loc"]), details)
            for details in error.errors(include_url=False)
            if not _follows_from_another(details)
        ]
    if problems or config is None:
        positions = _Positions(data)
        problems.sort(key=lambda problem: positions.of(problem[0]))
        lines = dict.fromkeys(
            f"{show_path(path)}: {shortened(what if isinstance(what, str) else _sentence(what))}"
            for path, what in problems[:MAX_LINES]
        )
        more = len(problems) - MAX_LINES
        raise ConfigError([*lines, *([f"and {more:,} more"] if more > 0 else [])])
    return config


def _syntax_error(message: str, text: str) -> str:
    """Put the line in front: "line 3, column 9: invalid value"."""
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if found:
        what, where = found[1], f"line {found[2]}, column {found[3]}"
    else:
        what = message.removesuffix(" (at end of document)")
        where = f"line {text.count(chr(10)) + 1}"
    return f"{where}: {what[:1].lower()}{what[1:]}"


def _line_of_long_number(text: str) -> int:
    longest = max(re.finditer(r"[0-9][0-9_]*+", text), key=lambda found: len(found[0]))
    return text.count("\n", 0, longest.start()) + 1


class _Positions:
    """Where in the file the keys stand."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data
        self._places: dict[int, dict[str, int]] = {}
        """By a table's identity: its keys, counted.  The tables live as long as `data`."""

    def of(self, path: KeyPath) -> list[int]:
        """Return where a key stands, as a sort key; missing keys come last in their table."""
        position = []
        data: object = self._data
        for part in path:
            if isinstance(data, dict):
                places = self._places.get(id(data))
                if places is None:
                    places = {key: place for place, key in enumerate(data)}
                    self._places[id(data)] = places
                position.append(places.get(str(part), len(places)))
                data = data.get(part)
            elif isinstance(data, list) and isinstance(part, int) and part < len(data):
                position.append(part)
                data = data[part]
            else:
                break
        return position


def _follows_from_another(details: ErrorDetails) -> bool:
    """Tell whether a list seems empty only because its entries were refused."""
    return details["type"] == "too_short" and bool(details["input"])


_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
}

_BOUNDS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than_equal": ("le", "must be at most"),
}


def _sentence(details: ErrorDetails) -> str:
    """Say in one line what is wrong with the value."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return f"{_shown(value)} is none of {', '.join(allowed)}"
    if kind == "extra_forbidden":
        return _unknown_key(tuple(details["loc"]))
    if kind == "missing":
        return "is missing"
    if kind == "too_short":
        return "must not be empty"
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{_shown(value)} {words} {_number(context[bound])}"
    if kind in _KINDS:
        return f"{_shown(value)} is not {_KINDS[kind]}"
    return f"{_shown(value)}: {details['msg']}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        return f"a number of more than {_MOST_DIGITS} digits"
    return repr(value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _unknown_key(path: KeyPath) -> str:
    known = list(_model_at(path[:-1]).model_fields)
    near = []
    if len(str(path[-1])) <= _LONGEST_SIMILAR:
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known here: {', '.join(known)}"


def _model_at(path: KeyPath) -> type[BaseModel]:
    """Return the model of the table at this path."""
    model: type[BaseModel] = Config
    for part in path:
        if isinstance(part, str):
            model = next(_models_in(model.model_fields[part].annotation))
    return model


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
