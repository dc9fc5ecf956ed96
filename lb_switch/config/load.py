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

from lb_switch.config.contradictions import KeyPath, Problem, find_contradictions, show_path
from lb_switch.config.schema import Config


class ConfigError(Exception):
    """A configuration that cannot be used.  `lines`: every error, one clear line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load(path: Path) -> Config:
    """Read and validate a file.  Raises ConfigError with all of its errors."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([f"{path}: {reason[0].lower()}{reason[1:]}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}: line {line}: not UTF-8, as TOML must be"]) from None
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{path}: {_syntax_error(str(error), text)}"]) from None
    return validate(data)


def validate(data: dict[str, Any]) -> Config:
    """Turn parsed TOML into a `Config`.  Raises ConfigError with all errors, in file order."""
    problems = list(find_contradictions(data))
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += [
            Problem(tuple(details["loc"]), _sentence(details))
            for details in error.errors()
            if not _follows_from_another(details)
        ]
    if problems or config is None:
        problems.sort(key=lambda problem: _position(data, problem.path))
        lines = [f"{show_path(p.path)}: {p.text}" for p in problems]
        raise ConfigError(list(dict.fromkeys(lines)))
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


def _position(data: object, path: KeyPath) -> list[int]:
    """Return where in the file a key stands, as a sort key; missing keys come last in theirs."""
    position = []
    for part in path:
        if isinstance(data, dict):
            keys = list(data)
            position.append(keys.index(part) if part in data else len(keys))
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
        return f"{value!r} {words} {context[bound]:g}"
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
    return repr(value)


def _unknown_key(path: KeyPath) -> str:
    known = list(_model_at(path[:-1]).model_fields)
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
