"""`lb-switch lab`: the lab of network namespaces (package `netns_lab`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from lb_switch.cli import arguments, lab_acts
from lb_switch.cli.commands import web
from lb_switch.cli.lab_failures import lab_failures

Choices = Callable[[], list[tuple[str, str]]]


class _WithChoices(click.Command):
    """A command whose help lists what its argument may be: names and summaries.

    They are asked for only then: other commands need not load the lab.
    """

    def __init__(self, *arguments: Any, heading: str, choices: Choices, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._heading = heading
        self._choices = choices

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the choices before the options."""
        with formatter.section(self._heading):
            formatter.write_dl(self._choices())
        super().format_options(ctx, formatter)


def _topologies() -> list[tuple[str, str]]:
    from netns_lab.topologies import TOPOLOGIES

    return [(each.name, each.summary) for each in TOPOLOGIES.values()]


def _scenarios() -> list[tuple[str, str]]:
    from netns_lab.scenarios.catalogue import SCENARIOS

    return [(each.name, each.summary) for each in SCENARIOS.values()]


@click.group("lab", no_args_is_help=False)
def command() -> None:
    """A lab of network namespaces: clients, switch, real servers.

    Everything is on this machine and nothing outside the lab is touched.  Needs root.

    \b
    Example:
      sudo lb-switch lab up
      sudo lb-switch lab show
      sudo lb-switch lab request c1 web -n 10
      sudo lb-switch lab kill s2
      sudo lb-switch lab exec c1 curl -s http://10.0.1.100/
      sudo lb-switch lab down
      sudo lb-switch lab run failover
    """  # noqa: D301


@command.command("up", cls=_WithChoices, heading="Topologies", choices=_topologies)
@click.argument("topology", default="textbook", required=False)
@lab_acts.prefix
@click.option("--capture", type=click.Choice(["tun", "nfqueue"]), default="tun", show_default=True)
@click.option(
    "--scheduler",
    type=arguments.SCHEDULERS,
    default="rr",
    show_default=True,
)
@click.option(
    "--health",
    type=click.Choice(["http", "tcp", "icmp", "none"]),
    default="http",
    show_default=True,
    help="How real servers are probed (http: where they speak it, else tcp; udp: icmp).",
)
@click.option("--explain", is_flag=True, help="Let the switch explain each packet in its log.")
@click.option("--record", type=click.Path(path_type=Path), help="Let it record what happens.")
@click.option("--write-pcap", type=click.Path(path_type=Path), help="Let it write both sides.")
@click.option(
    "--no-switch",
    is_flag=True,
    help="Do not start `lb-switch run` in it; the file that it would run is there.",
)
@click.option("--web", "page", is_flag=True, help="Show it on a page, too: lab web.")
def up(
    topology: str,
    prefix: str,
    capture: str,
    scheduler: str,
    health: Literal["http", "tcp", "icmp", "none"],
    explain: bool,
    record: Path | None,
    write_pcap: Path | None,
    no_switch: bool,
    page: bool,
) -> None:
    """Build a lab, start its real servers and its switch.  TOPOLOGY: textbook if not given.

    A real server that dies leaves its group: health checks are on.

    \b
    Examples:
      sudo lb-switch lab up
      sudo lb-switch lab up dual-stack
      sudo lb-switch lab up --capture nfqueue --scheduler wlc
      sudo lb-switch lab up --explain --record rec.jsonl
      sudo lb-switch lab up --web
    """  # noqa: D301
    options = ["--explain"] if explain else []
    for name, path in (("--record", record), ("--write-pcap", write_pcap)):
        if path is not None:
            options += [name, str(path.absolute())]
    if options and no_switch:
        raise click.UsageError(
            f"{options[0]} is for the switch that --no-switch leaves out.",
            click.get_current_context(),
        )
    with lab_failures():
        from netns_lab import lab

        made = lab.up(
            topology,
            prefix,
            capture=capture,
            scheduler=scheduler,
            switch=not no_switch,
            health=health,
            run_options=options,
        )
        if page:
            made.start_page("--listen", web.free_place())
        click.echo(lab.show(prefix), nl=False)
        if explain:
            click.echo(f"explained: tail -f {made.directory / 'switch.log'}")
        if no_switch:
            exec_ = "lb-switch lab exec" + ("" if prefix == "lb-" else f" --prefix {prefix}")
            click.echo(f"start it: sudo {exec_} switch lb-switch run {made.config_path}")


@command.command("down")
@lab_acts.prefix
def down(prefix: str) -> None:
    """Remove a lab: its processes, namespaces and files.

    \b
    Example:
      sudo lb-switch lab down
    """  # noqa: D301
    with lab_failures():
        from netns_lab import lab

        if lab.down(prefix):
            click.echo(f"the lab {prefix} is removed")
        else:
            click.echo(f"there was no lab {prefix}")


@command.command("list")
def list_labs() -> None:
    """List the labs that are up.

    \b
    Example:
      sudo lb-switch lab list
    """  # noqa: D301
    with lab_failures():
        from netns_lab import lab

        for summary in lab.list_labs():
            switch = (
                "no switch"
                if summary.switch_pid is None
                else f"switch {summary.switch_pid} ({summary.capture or 'by hand'})"
            )
            hosts = " ".join(summary.hosts)
            click.echo(f"{summary.prefix:<12} {summary.topology:<12} {switch:<24} {hosts}")


@command.command("scenarios")
def scenarios() -> None:
    """List the stories that `lab run` can tell.

    \b
    Example:
      lb-switch lab scenarios
    """  # noqa: D301
    for name, summary in _scenarios():
        click.echo(f"{name:<15} {summary}")


@command.command(
    "run",
    cls=_WithChoices,
    heading="Scenarios",
    choices=_scenarios,
    short_help="Tell a story with a lab of its own.",
)
@click.argument("scenario")
@click.option("--capture", type=click.Choice(["tun", "nfqueue"]), default="tun", show_default=True)
@click.option("--prefix", help="Of the lab's namespaces; a random one if not given.")
def run(scenario: str, capture: str, prefix: str | None) -> None:
    """Tell a story with a lab of its own: watch it happen, compare it with what should happen.

    Exits with 0 if all that was seen is as expected, else with 1.  The lab is removed in the end.

    \b
    Examples:
      sudo lb-switch lab run failover
      sudo lb-switch lab run scale-out --capture nfqueue
    """  # noqa: D301
    with lab_failures():
        from netns_lab.scenarios import catalogue

        code = catalogue.run(scenario, capture=capture, prefix=prefix)
    click.get_current_context().exit(code)


@command.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    short_help="Run a program on a host of the lab.",
)
@lab_acts.prefix
@click.argument("host")
@click.argument("argv", metavar="PROGRAM [ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
def exec_in(prefix: str, host: str, argv: tuple[str, ...]) -> None:
    """Run a program on a host of the lab; the exit code is the program's.

    \b
    Examples:
      sudo lb-switch lab exec c1 curl -s http://10.0.1.100/
      sudo lb-switch lab exec switch tcpdump -ni any -c 5
    """  # noqa: D301
    if not argv:
        raise click.UsageError("Missing argument 'PROGRAM'.", click.get_current_context())
    with lab_failures():
        from netns_lab import lab

        code = lab.exec_in(prefix, host, argv)
    click.get_current_context().exit(code)


@command.command("show")
@lab_acts.prefix
def show(prefix: str) -> None:
    """Show a lab: picture, hosts, addresses, switch.

    \b
    Example:
      sudo lb-switch lab show
    """  # noqa: D301
    with lab_failures():
        from netns_lab import lab

        click.echo(lab.show(prefix), nl=False)


@command.command("web", short_help="Show the lab on a page, and act on it there.")
@lab_acts.prefix
@web.options
def web_of_lab(prefix: str, **serving: Any) -> None:
    """Show the lab's switch on a page, until Ctrl-C (see lb-switch web).

    The page acts on the lab, too: it sends requests from clients, kills and starts servers, pulls
    cables.  It is served on this machine, not in the lab.

    \b
    Examples:
      sudo lb-switch lab web
      sudo lb-switch lab web --prefix demo- --listen 0
    """  # noqa: D301
    with lab_failures():
        from lb_switch.cli.lab_page import LabPage
        from netns_lab import lab

        attached = lab.attach(prefix)
    web.show(attached.control_socket, lab=LabPage(attached), **serving)


for each in lab_acts.COMMANDS:
    command.add_command(each)
