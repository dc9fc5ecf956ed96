"""The unit file as it is shipped, and as it fits this installation."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

NAME = "lb-switch.service"
DIRECTORY = Path("/etc/systemd/system")
CONFIG = Path("/etc/lb-switch/lb.toml")
"""The configuration that the shipped unit names."""


def unit(program: Path, config: Path = CONFIG) -> str:
    """Return the unit that runs `program` with `config`, both absolute paths.

    Raises ValueError for a path that a unit cannot name.
    """
    for path in (program, config):
        if not path.is_absolute() or not str(path).isprintable():
            raise ValueError(f"{str(path)!r} is not an absolute path of printable characters")
    text = resources.files("lb_switch.service").joinpath(NAME).read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        key, equals, command = line.partition("=")
        if key in {"ExecStart", "ExecReload"}:
            words = command.split()
            words[0] = _quoted(program)
            words = [_quoted(config) if word == str(CONFIG) else word for word in words]
            lines.append(f"{key}{equals}{' '.join(words)}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """Write a path as one word of a command line (systemd.service(5), "Command lines")."""
    text = str(path).replace("%", "%%").replace("$", "$$")
    if any(character in " \t\"'\\;" for character in text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
