"""`lb-switch show`: what the running switch knows."""

from __future__ import annotations

import itertools
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import click

from lb_switch.cli import control_socket, health_table, render
from lb_switch.cli import watch as watching
from lb_switch.cli.failures import CommandError
from lb_switch.control.client import ControlClient, ControlError
from lb_switch.words import english as words

RATE_SECONDS = 1.0
"""Between the two looks that make a rate."""


class Show(Protocol):
    """Asks the switch and returns lines: a table, or one JSON document."""

    def __call__(self, switch: ControlClient, /, as_json: bool) -> Iterable[str]:
        """Return the lines."""


def _virtual_servers(switch: ControlClient, as_json: bool) -> Iterable[str]:
    rows = switch.rows("show", what="virtual_servers")
    if as_json:
        return render.json_array(rows)
    return itertools.chain(render.virtual_servers(rows), _amiss(switch))


def _amiss(switch: ControlClient) -> Iterable[str]:
    """Yield a line if something of the switch's own is missing on the host."""
    lines = switch.ask("show", what="host")["amiss"]
    if lines:
        yield from textwrap.wrap(f"Host: {words.host('amiss', lines)}", health_table.WIDTH)


def _connections(
    switch: ControlClient, as_json: bool, hosts: Mapping[str, str] = MappingProxyType({})
) -> Iterable[str]:
    rows = switch.rows("show", what="connections", **hosts)
    return render.json_array(rows) if as_json else render.connections(rows)


def _stats(switch: ControlClient, as_json: bool) -> Iterable[str]:
    rows = list(switch.rows("show", what="virtual_servers"))
    stats = switch.ask("show", what="stats")
    if as_json:
        return [render.as_json({**stats, "virtual_servers": rows})]
    return [*render.traffic(rows), *render.counters(stats)]


def _rate(switch: ControlClient, as_json: bool) -> Iterable[str]:
    looks = []
    for pause in (RATE_SECONDS, 0.0):
        now = switch.ask("show", what="stats")["time"]
        looks.append((now, list(switch.rows("show", what="virtual_servers"))))
        time.sleep(pause)
    (begin, before), (end, after) = looks
    if end <= begin:
        raise CommandError("the switch's clock did not advance")
    if as_json:
        return [render.as_json(render.rates_as_rows(before, after, end - begin))]
    return render.rates(before, after, end - begin)


def _health(switch: ControlClient, as_json: bool) -> Iterable[str]:
    rows = switch.rows("show", what="health")
    probes = switch.ask("show", what="probes")
    if as_json:
        return [render.as_json({"probes": probes, "real_servers": list(rows)})]
    return health_table.health(rows, probes)


SHOWS: dict[str, Show] = {
    "virtual_servers": _virtual_servers,
    "connections": _connections,
    "stats": _stats,
    "rate": _rate,
    "health": _health,
}


@click.command("show", cls=watching.WatchCommand)
@click.argument("what", metavar="[WHAT]", type=click.Choice(list(SHOWS)), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--client", metavar="HOST", help="connections: only of this client.")
@click.option("--server", metavar="HOST", help="connections: only of this real server.")
@watching.option
@click.option(
    "--recent",
    metavar="SECONDS",
    type=click.FloatRange(min=0, max=86_400),
    help="connections --watch: keep those that ended in sight for so long.",
)
@click.option("-n", "--numeric", is_flag=True, help="Print numbers; nothing is ever resolved.")
@control_socket.options
def command(
    what: str | None,
    as_json: bool,
    client: str | None,
    server: str | None,
    watch: float | None,
    recent: float | None,
    numeric: bool,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Show what the running switch does: virtual servers, if WHAT is not given.

    \b
    virtual_servers   real servers with their active and inactive connections
    connections       every connection: state, client, real server, seconds left
    stats             connections, packets and bytes so far; packets by reason
    rate              the same per second, measured during one second
    health            real servers: up or down, since when, what a probe found

    The tables are those of `ipvsadm -Ln`, `-Lnc`, `--stats` and `--rate`.  Addresses and ports
    are always numbers: -n is understood, and changes nothing.

    HOST is an address, or a name of the configuration's table `hosts`.

    Watched connections stand in the order in which they came, the newest first, with names; no
    connection is too short to be seen with --recent, as the switch tells of each.

    --watch refreshes in place on a terminal, and appends when piped (with --json, one document a
    line).  It goes on when the switch is restarted, and says so.

    The switch is found at --socket, else at the control_socket of --config, else at the path in
    the environment variable LB_SWITCH_SOCKET, else at /run/lb-switch/control.sock.  `run` listens
    there likewise.

    \b
    Examples:
      sudo lb-switch show
      sudo lb-switch show connections -n
      sudo lb-switch show connections --server s1 --client 10.0.1.11
      sudo lb-switch show stats --json
      sudo lb-switch show --watch
      sudo lb-switch show connections --watch 1 --recent 10
      sudo lb-switch show rate --watch 5
    """  # noqa: D301
    del numeric
    path = control_socket.find(config, socket)
    show = SHOWS[what or "virtual_servers"]
    hosts = {
        field: host for field, host in (("client", client), ("server", server)) if host is not None
    }
    if hosts:
        if what != "connections":
            raise click.UsageError(
                "--client and --server are for connections.", click.get_current_context()
            )
        show = partial(_connections, hosts=hosts)
    if recent is not None and (watch is None or what != "connections" or as_json):
        raise click.UsageError("--recent is for connections --watch.", click.get_current_context())
    if watch is not None:
        from lb_switch.cli import watched

        def connect() -> ControlClient:
            return ControlClient(path)

        look: watching.Look = partial(show, as_json=as_json)
        if what == "connections" and not as_json:
            look = watched.connections(connect, recent or 0.0, hosts)
        elif what in {None, "virtual_servers"} and not as_json:
            look = watched.virtual_servers(connect)
        watching.watch(connect, look, f"lb-switch show {what or ''}".rstrip(), watch)
        return
    try:
        with ControlClient(path) as switch:
            sys.stdout.writelines(f"{line}\n" for line in show(switch, as_json))
    except ControlError as error:
        labs = [] if path.exists() else _labs()
        if labs:
            raise CommandError([f"lb-switch: {error}", *labs]) from None
        control_socket.refuse(error)


def _labs() -> list[str]:
    """Return how to ask the switches of the labs that are up, a line each."""
    from netns_lab import lab

    lines = []
    for summary in lab.list_labs():
        if summary.switch_pid is not None:
            prefix = "" if summary.prefix == lab.DEFAULT_PREFIX else f" --prefix {summary.prefix}"
            command = f"sudo lb-switch lab exec{prefix} switch -- lb-switch show"
            lines.append(f"lb-switch: a lab is up ({summary.topology}); ask its switch: {command}")
    return lines
