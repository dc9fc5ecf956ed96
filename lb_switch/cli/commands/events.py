"""`lb-switch events`: the stream of the running switch, as JSON lines."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lb_switch.cli import control_socket
from lb_switch.control.client import ControlClient, ControlError

KINDS = ("connections", "servers", "probes", "packets")


@click.command("events")
@click.argument("kinds", metavar="[KIND]...", nargs=-1, type=click.Choice(KINDS))
@control_socket.options
def command(kinds: tuple[str, ...], config: Path | None, socket: Path | None) -> None:
    """Print what the running switch tells, a line of JSON each: what is, then what happens.

    \b
    connections   each that opens, changes its state, or leaves the table, and why
    servers       health, state and weight; who comes and goes; settings
    probes        each probe and what it found
    packets       each packet: as it came, as it went on, and why

    All but packets if no KIND is given.  The first line is a header, then comes a line for each
    connection in the table, `complete`, and then every event until Ctrl-C.  The lines are those of
    a recording.  A reader that is too slow loses lines, and is told how many; no packet waits.

    \b
    Examples:
      sudo lb-switch events
      sudo lb-switch events connections servers | jq -c .
      sudo lb-switch events packets | lb-switch explain story --from -
    """  # noqa: D301
    path = control_socket.find(config, socket)
    try:
        with ControlClient(path) as switch:
            for line in switch.subscribe(*(kinds or KINDS[:3])):
                sys.stdout.buffer.write(line + b"\n")
                sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        return
    except ControlError as error:
        control_socket.refuse(error)
