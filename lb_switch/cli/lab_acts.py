"""`lb-switch lab kill|start|unplug|plug|fault|request|logs`: what is done to a lab that is up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lb_switch.cli.failures import FAILED
from lb_switch.cli.lab_failures import lab_failures
from lb_switch.harmless import harmless

if TYPE_CHECKING:
    from netns_lab.lab import Lab

DEFAULT_PREFIX = "lb-"
PAUSE = 0.2
"""Seconds between two looks for new lines of a log."""

prefix = click.option(
    "--prefix",
    default=DEFAULT_PREFIX,
    show_default=True,
    help="Which lab: its namespaces' names begin with this.",
)
_hosts = click.argument("hosts", metavar="HOST...", nargs=-1, required=True)


def _do(prefix: str, hosts: tuple[str, ...], act: Callable[[Lab, str], str]) -> None:
    """Do one thing with each host, and print what was done."""
    with lab_failures():
        from netns_lab import lab

        attached = lab.attach(prefix)
        for host in hosts:
            click.echo(act(attached, host))


def _command_of(name: str, short_help: str, text: str) -> click.Command:
    """Return the command that does one thing, `name`, with each of its hosts."""

    @click.command(
        name,
        short_help=short_help,
        help=f"{text}\n\n\b\nExample:\n  sudo lb-switch lab {name} s2",
    )
    @prefix
    @_hosts
    def command(prefix: str, hosts: tuple[str, ...]) -> None:
        from netns_lab import acts

        _do(prefix, hosts, getattr(acts, name))

    return command


_SIMPLE = (
    _command_of(
        "kill",
        "End a real server's program, as a crash would.",
        "End a real server's program by SIGKILL, as a crash would; its host stays.\n\n"
        "HOST is a name or an address.",
    ),
    _command_of(
        "start",
        "Start a real server's program again.",
        "Start a real server's program again, and wait until it serves.",
    ),
    _command_of(
        "unplug",
        "Pull the cable of a host.",
        "Pull the cable of a host: nothing reaches it any more, and nothing says so.",
    ),
    _command_of("plug", "Put the cable of a host back.", "Put the cable of a host back."),
)


class _FaultType(click.ParamType):  # type: ignore[type-arg,unused-ignore] # click 8.1
    name = "FAULT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """Read it."""
        if value in {"slow", "silent", "none"}:
            return str(value)
        is_number = str(value).isascii() and str(value).isdigit()
        if not is_number or not 200 <= int(value) < 600:
            why = f"{value!r} is none of slow, silent, none, nor a status (200 to 599)"
            self.fail(why, param, ctx)
        return int(value)


@click.command("fault", short_help="Let a real server answer 500, slowly, or nothing.")
@prefix
@click.argument("host")
@click.argument("fault", type=_FaultType())
@click.option(
    "--seconds",
    type=click.FloatRange(0, 60, min_open=True),
    default=3.0,
    show_default=True,
    help="How long an answer takes, with slow.",
)
def fault(prefix: str, host: str, fault: str | int, seconds: float) -> None:
    """Let a real server misbehave: FAULT is a status, slow, silent, or none (the end of it).

    A status is what every request is answered with.  A silent server accepts connections, and
    answers nothing.

    \b
    Examples:
      sudo lb-switch lab fault s2 500
      sudo lb-switch lab fault s2 slow --seconds 5
      sudo lb-switch lab fault s2 none
    """  # noqa: D301
    from netns_lab import acts

    if isinstance(fault, int):
        wanted = acts.Fault(status=fault)
    else:
        wanted = {
            "slow": acts.Fault(seconds=seconds),
            "silent": acts.Fault(silent=True),
            "none": acts.Fault(),
        }[fault]
    _do(prefix, (host,), lambda lab, word: acts.misbehave(lab, word, wanted))


@click.command("request", short_help="Send requests from a host to a virtual server.")
@prefix
@click.argument("host")
@click.argument("virtual_server", metavar="[VIP:PORT|NAME]", required=False)
@click.option("-n", "--count", type=click.IntRange(1, 1_000_000), help="How many: 1 if not given.")
@click.option(
    "--parallel", type=click.IntRange(1, 256), default=1, show_default=True, help="At a time."
)
@click.option("--keep-alive", is_flag=True, help="Several requests on one connection (HTTP).")
@click.option("--path", default="/", show_default=True, help="Which page (HTTP).")
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000, min_open=True),
    help="So many each second, whatever becomes of the others.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 86_400, min_open=True),
    help="For how long, with --rate: until Ctrl-C if not given.",
)
def request(
    prefix: str,
    host: str,
    virtual_server: str | None,
    count: int | None,
    parallel: int,
    keep_alive: bool,
    path: str,
    rate: float | None,
    seconds: float | None,
) -> None:
    """Send requests from a host to a virtual server, and say who answered.

    Without a virtual server, the first one of the lab is asked.  Exits with 1 if a request failed.

    \b
    Examples:
      sudo lb-switch lab request c1
      sudo lb-switch lab request c1 web -n 100 --parallel 4
      sudo lb-switch lab request c2 10.0.1.100:443 --rate 20 --seconds 60
    """  # noqa: D301
    if rate is None and seconds is not None:
        _wrong("--seconds needs --rate.")
    if rate is not None and (count is not None or keep_alive or parallel != 1):
        _wrong("--rate goes with --seconds, not with -n, --parallel, or --keep-alive.")
    with lab_failures():
        from netns_lab import acts, lab, names

        attached = lab.attach(prefix)
        topology = attached.topology
        wanted = virtual_server or topology.virtual_servers[0].name
        url = names.url(topology, names.virtual_server(topology, wanted), path)
        if rate is None:
            answers = acts.request_some(
                attached, host, url, count or 1, parallel=parallel, keep_alive=keep_alive
            )
        else:
            answers = acts.request_steadily(attached, host, url, rate, seconds or 86_400)
    click.echo(f"{host} asks {url}")
    for line in answers.lines:
        click.echo(harmless(line))
    if answers.errors:
        click.get_current_context().exit(FAILED)


@click.command("logs", short_help="Show what a host's program has written.")
@prefix
@click.argument("host")
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def logs(prefix: str, host: str, lines: int, follow: bool) -> None:
    """Show what the program of a host has written: a real server's requests, the switch's log.

    \b
    Examples:
      sudo lb-switch lab logs s1
      sudo lb-switch lab logs switch -f
    """  # noqa: D301
    with lab_failures():
        from netns_lab import acts, lab

        path = acts.log_of(lab.attach(prefix), host)
        for line in _lines_of(path, lines, follow=follow):
            click.echo(harmless(line))


COMMANDS = (*_SIMPLE, fault, request, logs)


def _lines_of(path: Path, last: int, *, follow: bool) -> Iterator[str]:
    """Yield the last lines of a file, and with `follow` those to come, until the lab is gone."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as log:
        yield from (line.rstrip("\n") for line in deque(log, maxlen=last))
        while follow and path.exists():
            line = log.readline()
            if line:
                yield line.rstrip("\n")
            else:
                time.sleep(PAUSE)


def _wrong(why: str) -> None:
    raise click.UsageError(why, click.get_current_context())
