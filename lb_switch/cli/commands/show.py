"""`lb-switch show`: what the running switch knows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lb_switch.cli import render
from lb_switch.cli.configuration import load_config
from lb_switch.cli.failures import CommandError

if TYPE_CHECKING:
    from lb_switch.control.client import ControlClient

DEFAULT_SOCKET = "/run/lb-switch/control.sock"

RATE_SECONDS = 1.0
"""Between the two looks that make a rate."""


@click.command("show")
@click.argument(
    "what",
    metavar="[WHAT]",
    type=click.Choice(["virtual_servers", "connections", "stats", "rate"]),
    required=False,
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-n", "--numeric", is_flag=True, help="Print numbers; nothing is ever resolved.")
@click.option("--config", type=click.Path(path_type=Path), help="Ask the switch of this file.")
@click.option("--socket", type=click.Path(path_type=Path), help="Ask at this control socket.")
def command(
    what: str | None, as_json: bool, numeric: bool, config: Path | None, socket: Path | None
) -> None:
    """Show what the running switch does: virtual servers, if WHAT is not given.

    \b
    virtual_servers   real servers with their active and inactive connections
    connections       every connection: state, client, real server, seconds left
    stats             connections, packets and bytes so far; packets by reason
    rate              the same per second, measured during one second

    The tables are those of `ipvsadm -Ln`, `-Lnc`, `--stats` and `--rate`.  Addresses and ports
    are always numbers: -n is understood, and changes nothing.

    The switch is found at --socket, else at the control_socket of --config, else at the path in
    the environment variable LB_SWITCH_SOCKET, else at /run/lb-switch/control.sock.

    \b
    Examples:
      sudo lb-switch show
      sudo lb-switch show connections -n
      sudo lb-switch show stats --json
    """  # noqa: D301
    del numeric
    from lb_switch.control.client import ControlClient, ControlError

    try:
        with ControlClient(_control_socket(config, socket)) as switch:
            SHOWS[what or "virtual_servers"](switch, as_json)
    except ControlError as error:
        raise CommandError(str(error)) from None


def _control_socket(config: Path | None, socket: Path | None) -> Path:
    if socket is not None:
        return socket
    if config is not None:
        return Path(load_config(config).switch.control_socket)
    return Path(os.environ.get("LB_SWITCH_SOCKET") or DEFAULT_SOCKET)


def _virtual_servers(switch: ControlClient, as_json: bool) -> None:
    rows = switch.rows("show", what="virtual_servers")
    if as_json:
        _print_array(rows)
    else:
        _print(render.virtual_servers(rows))


def _connections(switch: ControlClient, as_json: bool) -> None:
    rows = switch.rows("show", what="connections")
    if as_json:
        _print_array(rows)
    else:
        _print(render.connections(rows))


def _stats(switch: ControlClient, as_json: bool) -> None:
    rows = list(switch.rows("show", what="virtual_servers"))
    stats = switch.ask("show", what="stats")
    if as_json:
        click.echo(render.as_json({**stats, "virtual_servers": rows}))
    else:
        _print(render.traffic(rows))
        _print(render.counters(stats))


def _rate(switch: ControlClient, as_json: bool) -> None:
    looks = []
    for pause in (RATE_SECONDS, 0.0):
        now = switch.ask("show", what="stats")["time"]
        looks.append((now, list(switch.rows("show", what="virtual_servers"))))
        time.sleep(pause)
    (begin, before), (end, after) = looks
    if end <= begin:
        raise CommandError("the switch's clock did not advance")
    if as_json:
        click.echo(render.as_json(render.rates_as_rows(before, after, end - begin)))
    else:
        _print(render.rates(before, after, end - begin))


SHOWS: dict[str, Callable[[ControlClient, bool], None]] = {
    "virtual_servers": _virtual_servers,
    "connections": _connections,
    "stats": _stats,
    "rate": _rate,
}


def _print(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _print_array(rows: Iterable[render.Row]) -> None:
    sys.stdout.writelines(render.json_array(rows))
