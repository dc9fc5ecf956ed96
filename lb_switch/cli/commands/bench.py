"""`lb-switch bench`: side by side with others on the wire, and the engine alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lb_switch.cli.failures import BAD_USAGE, CommandError
from lb_switch.cli.lab_failures import lab_failures

QUICK = (1, 2)
"""Rounds, and seconds of each measure."""
OUTPUT = "bench-results"

_output = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=OUTPUT,
    show_default=True,
    help="Directory for the results.",
)


def _names(values: tuple[str, ...]) -> list[str]:
    """Names given one by one or with commas."""
    return [name for value in values for name in value.split(",") if name]


@click.group("bench", invoke_without_command=True, no_args_is_help=False)
@click.option("--quick", is_flag=True, help="One short round: under two minutes, rough figures.")
@click.option("--rounds", type=click.IntRange(1), help="How often everything is run.  [default: 5]")
@click.option("--seconds", type=click.IntRange(1), help="Of each measure.  [default: 4]")
@click.option("--only", multiple=True, metavar="CONTESTANT[,...]", help="Not all contestants.")
@click.option("--measure", multiple=True, metavar="MEASURE[,...]", help="Not all measures.")
@_output
@click.pass_context
def command(
    context: click.Context,
    quick: bool,
    rounds: int | None,
    seconds: int | None,
    only: tuple[str, ...],
    measure: tuple[str, ...],
    output: Path,
) -> None:
    """Measure this switch beside others: HAProxy, nginx, the kernel, and no balancer at all.

    Each contestant gets a fresh lab in each round; medians and ratios to HAProxy are printed, and
    written to bench.json, bench.md and bench.svg.  Needs root; run nothing beside it.

    \b
    Contestants: direct kernel-dnat haproxy nginx-stream tun nfqueue
    Measures:    bulk1 bulk4 requests latency connections udp

    \b
    Examples:
      sudo lb-switch bench --quick
      sudo lb-switch bench
      sudo lb-switch bench --only haproxy,tun --measure bulk1 --rounds 9
      lb-switch bench engine             the engine alone, no network
    """  # noqa: D301
    if context.invoked_subcommand is not None:
        return
    from netns_lab.bench import report, tournament

    quick_rounds, quick_seconds = QUICK if quick else (tournament.ROUNDS, tournament.SECONDS)
    try:
        todo = tournament.plan(
            _names(only), _names(measure), rounds or quick_rounds, seconds or quick_seconds
        )
    except LookupError as error:
        raise CommandError(f"bench: {error.args[0]}", BAD_USAGE) from None
    with lab_failures():
        runs = report.run(todo, output, _progress)
    click.echo(report.text(runs), nl=False)
    click.echo(f"written: {output / report.JSON}, {output / report.TABLE}, {output / report.SVG}")
    if any(run.error for run in runs):
        raise CommandError("bench: not every contestant could be measured (see above)")


@command.command("engine")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--quick", is_flag=True, help="A tenth of the connections, fewer repetitions.")
@_output
def engine(names: tuple[str, ...], quick: bool, output: Path) -> None:
    """Measure the engine alone: no network, no root.

    \b
    Names: packets memory lookup growth flood expiry (default: all)

    \b
    Examples:
      lb-switch bench engine
      lb-switch bench engine packets --quick
    """  # noqa: D301
    from lb_switch.bench import report

    try:
        results = report.run(_names(names), quick=quick, say=_progress)
    except LookupError as error:
        raise CommandError(f"bench engine: {error.args[0]}", BAD_USAGE) from None
    except report.BenchmarkError as error:
        raise CommandError(f"bench engine: {error}") from None
    output.mkdir(parents=True, exist_ok=True)
    path = output / report.JSON
    _write_json(path, results)
    click.echo(report.text(results), nl=False)
    click.echo(f"written: {path}")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
