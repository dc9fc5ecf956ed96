"""`lb-switch reload`: the running switch reads its file again."""

from __future__ import annotations

from pathlib import Path

import click

from lb_switch.cli import control_socket


@click.command("reload")
@control_socket.options
def command(config: Path | None, socket: Path | None) -> None:
    """Have the running switch read its configuration file again: the one `run` was given.

    The file is validated first and applied as a difference, all or nothing: a file with errors
    changes nothing, and all its errors are said.  Live connections, counters, health and the
    scheduler's position survive.  The file decides about weights, and about which servers there
    are; drain and maint stay.  capture, queue and control_socket need a restart.  SIGHUP to the
    switch does the same.

    \b
    Examples:
      sudo lb-switch reload
      sudo lb-switch reload --config /etc/lb-switch/lb.toml
    """  # noqa: D301
    control_socket.change(control_socket.find(config, socket), "reload")
