"""`lb-switch web`: the running switch on a page."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lb_switch.cli import control_socket
from lb_switch.cli.failures import CommandError

if TYPE_CHECKING:
    from lb_switch.web.lab import Lab

USUAL_PLACE = "127.0.0.1:8480"


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what says where and how the page is served."""
    for option in (
        click.option(
            "--beyond-this-machine",
            is_flag=True,
            help="Listen where others can reach it, too.  The way there is not encrypted.",
        ),
        click.option("--read-only", is_flag=True, help="Let the page look, and change nothing."),
        click.option(
            "--name",
            "names",
            metavar="NAME",
            multiple=True,
            help="Another name by which browsers call this machine.  May be repeated.",
        ),
        click.option(
            "--listen",
            metavar="[ADDRESS:]PORT",
            default=USUAL_PLACE,
            show_default=True,
            help="Where the page is served; port 0 is any that is free.",
        ),
    ):
        command = option(command)
    return command


@click.command("web")
@options
@control_socket.options
def command(config: Path | None, socket: Path | None, **serving: Any) -> None:
    """Show the running switch on a page, until Ctrl-C.

    Packets move between clients, the switch and real servers; a click says more of each.  The
    address that is printed holds a token: whoever has it may look, and act.  Metrics for Prometheus
    are at /metrics, without one.

    It is a process of its own and needs nothing but the control socket.  When the switch is started
    again, the page goes on.

    \b
    Examples:
      sudo lb-switch web
      sudo lb-switch web --listen 9000 --read-only
      sudo lb-switch web --listen 192.0.2.7:8480 --beyond-this-machine --read-only
    """  # noqa: D301
    show(control_socket.find(config, socket), **serving)


def free_place() -> str:
    """Return the usual place if nobody is there, else another one."""
    from lb_switch.web.serve import Place, listen

    try:
        listener, _ = listen(Place.parse(USUAL_PLACE))
    except OSError:
        return "127.0.0.1:0"
    listener.close()
    return USUAL_PLACE


def show(
    path: Path,
    listen: str,
    names: tuple[str, ...],
    read_only: bool,
    beyond_this_machine: bool,
    lab: Lab | None = None,
) -> None:
    """Serve the page of the switch at a control socket, until Ctrl-C.  Bad usage is told.

    `lab`: the one that the switch is in, if the page may act on it, too.
    """
    from lb_switch.control.client import ControlClient
    from lb_switch.web import serve as web

    try:
        place = web.Place.parse(listen)
    except ValueError as error:
        raise click.BadParameter(f"{listen!r}: {error}", param_hint="--listen") from None
    if not place.is_loopback and not beyond_this_machine:
        raise click.UsageError(
            f"others can reach {place.address}: say --beyond-this-machine if that is meant.",
            click.get_current_context(),
        )
    try:
        listener, place = web.listen(place)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        hint = " (--listen 0 takes a port that is free)" if error.errno == errno.EADDRINUSE else ""
        raise CommandError(f"{place.text}: {why}{hint}") from None
    if not place.is_loopback:
        click.echo("lb-switch: note: whoever is on the way reads the token", err=True)
    with listener, contextlib.suppress(KeyboardInterrupt):
        web.serve(
            listener,
            place,
            lambda: ControlClient(path),
            names=names,
            read_only=read_only,
            lab=lab,
            on_ready=lambda address: click.echo(f"lb-switch: the page is at {address}"),
        )
