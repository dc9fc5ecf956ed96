"""Where the commands that talk to a running switch find it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from lb_switch.cli.configuration import load_config
from lb_switch.cli.failures import BAD_CONFIGURATION, CommandError
from lb_switch.control.client import ControlClient, ControlError
from lb_switch.engine.packet.endpoint import Endpoint

if TYPE_CHECKING:
    from lb_switch.config.schema import Config

DEFAULT_SOCKET = "/run/lb-switch/control.sock"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(command: _Command) -> _Command:
    """Add --config and --socket, for `find`."""
    path = click.Path(path_type=Path)
    command = click.option("--socket", type=path, help="Ask at this control socket.")(command)
    return click.option("--config", type=path, help="Ask the switch of this file.")(command)


def find(config: Path | None, socket: Path | None) -> Path:
    """Return the path of the control socket.  Raises CommandError if `config` is not valid."""
    if socket is not None:
        return socket
    return _usual() if config is None else of(load_config(config))


def of(config: Config) -> Path:
    """Return where the switch of a configuration listens: as `find` if the file does not say."""
    if "control_socket" in config.switch.model_fields_set:
        return Path(config.switch.control_socket)
    return _usual()


def _usual() -> Path:
    return Path(os.environ.get("LB_SWITCH_SOCKET") or DEFAULT_SOCKET)


def ask(path: Path, verb: str, **fields: object) -> Any:
    """Return the result of one request.  Raises CommandError."""
    try:
        with ControlClient(path) as switch:
            return switch.ask(verb, **fields)
    except ControlError as error:
        refuse(error)


def change(path: Path, verb: str, **fields: object) -> None:
    """Have something changed and say what was.  Fields that are None are left out."""
    given = {
        key: str(value) if isinstance(value, Endpoint) else value
        for key, value in fields.items()
        if value is not None
    }
    lines = ask(path, verb, **given) or ["nothing changed: it was so already"]
    if not isinstance(lines, list):
        lines = [lines]
    for line in lines:
        click.echo(str(line))


def refuse(error: ControlError) -> NoReturn:
    """Say what the switch (or its absence) said: exit code 2 for a bad configuration, else 1."""
    if error.details:
        lines = [f"lb-switch: {error}", *error.details]
        raise CommandError(lines, BAD_CONFIGURATION) from None
    raise CommandError(str(error)) from None
