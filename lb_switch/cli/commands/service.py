"""`lb-switch service`: the systemd unit that comes with the program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lb_switch.cli.failures import BAD_USAGE, CommandError
from lb_switch.service import unit


def _config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=unit.CONFIG,
        show_default=True,
        help="The configuration that the service runs.",
    )(command)


@click.group("service")
def command() -> None:
    """Run lb-switch as a systemd service.

    \b
    Examples:
      sudo lb-switch service install
      sudo systemctl enable --now lb-switch
      sudo systemctl reload lb-switch
    """  # noqa: D301


@command.command("print")
@_config_option
def print_unit(config: Path) -> None:
    """Print the unit file, as `install` would write it.

    \b
    Example:
      lb-switch service print | less
    """  # noqa: D301
    click.echo(_unit(config), nl=False)


@command.command("install")
@_config_option
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=unit.DIRECTORY,
    show_default=True,
    help="Where the unit file goes.",
)
def install(config: Path, directory: Path) -> None:
    """Write the unit file; it is neither enabled nor started.

    \b
    Examples:
      sudo lb-switch service install
      sudo lb-switch service install --config /etc/balancer.toml
    """  # noqa: D301
    path = directory / unit.NAME
    text = _unit(config)
    try:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"{path} is written; next: systemctl daemon-reload")
    click.echo("then: systemctl enable --now lb-switch")


def _unit(config: Path) -> str:
    try:
        return unit.unit(_program(), config.absolute())
    except ValueError as error:
        raise CommandError(str(error), BAD_USAGE) from None


def _program() -> Path:
    """Return the absolute path of the `lb-switch` that belongs to this Python.

    It stands beside the interpreter, wherever this was called from.
    """
    program = Path(sys.executable).with_name("lb-switch")
    if not program.exists():
        raise CommandError(f"{program} is missing: install the package (pip install .)")
    return program
