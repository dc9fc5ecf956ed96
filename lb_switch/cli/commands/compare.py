"""`lb-switch compare`: one load through every scheduler, offline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

from lb_switch import examples
from lb_switch.cli import output_files, render
from lb_switch.cli.configuration import load_config
from lb_switch.cli.failures import CommandError

if TYPE_CHECKING:
    from lb_switch.compare.load import Load
    from lb_switch.compare.run import ComparedGroup
    from lb_switch.compare.schedulers import Comparison
    from lb_switch.config.schema import Config, VirtualServerTable

_SYNTHETIC = ("clients", "connections", "seed")
"""Options that mean nothing to a recording."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Entry = TypeVar("_Entry", bound=_Named)


@click.command("compare")
@click.argument("config", metavar="[CONFIG]", type=click.Path(path_type=Path), required=False)
@click.argument("capture", metavar="[IN.pcap]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Take load and real servers from a recording (run --record), with what happened to them.",
)
@click.option("--example", is_flag=True, help="Take the CONFIG that comes with lb-switch.")
@click.option("--synthetic", is_flag=True, help="Make up the load (the default without IN.pcap).")
@click.option(
    "--clients",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="Of a synthetic load; the k-th opens a share of 1/k.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 200_000),
    default=3000,
    show_default=True,
    help="Of a synthetic load, in 60 s, of heavy-tailed durations.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another load.")
@click.option("--virtual-server", "name", help="The one to compare for; by default the first.")
@click.option("--weights", metavar="W,W,…", help="Of its real servers, instead of CONFIG's.")
@click.option("--leaves", metavar="RIP:PORT", help="Who leaves; by default the last real server.")
@click.option(
    "--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw the comparison as SVG."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(
    config: Path | None,
    capture: Path | None,
    source: Path | None,
    example: bool,
    synthetic: bool,
    clients: int,
    connections: int,
    seed: int,
    name: str | None,
    weights: str | None,
    leaves: str | None,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Put one load through every scheduler, and show what each makes of it.

    The load is the connections in the capture file IN.pcap, or a made-up one; the real servers are
    those of CONFIG, all healthy.  With --from both come from a recording, and real servers fail,
    drain and come back as they did; CONFIG may then be left out: it says only how to hash.

    It shows how new connections are distributed, how even the active ones stay, and which clients
    move when a real server leaves in the middle.  Works offline and without root; the same
    arguments give the same numbers.

    \b
    Examples:
      lb-switch compare --example
      lb-switch compare lb.toml
      lb-switch compare lb.toml --weights 1,1,2 --svg schedulers.svg
      lb-switch compare lb.toml recorded.pcap
      lb-switch compare --from rec.jsonl
    """  # noqa: D301
    context = click.get_current_context()
    if example and (config is not None or source is not None):
        raise click.UsageError("--example brings its own CONFIG.", context)
    config = examples.CONFIG if example else config
    if source is None and config is None:
        raise click.UsageError("Missing argument 'CONFIG' (or --from FILE, or --example).", context)
    if source is not None and capture is not None:
        raise click.UsageError("IN.pcap and --from cannot go together.", context)
    if capture is not None or source is not None:
        given = [
            option
            for option in _SYNTHETIC
            if context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT
        ]
        if synthetic or given:
            option = "synthetic" if synthetic else given[0]
            raise click.UsageError(f"--{option} is not for a recording.", context)
    output_files.check([config, capture, source], [svg])
    loaded = None if config is None else load_config(config)
    from lb_switch.compare.load import synthetic as make_up
    from lb_switch.compare.schedulers import compare
    from lb_switch.config.build import settings
    from lb_switch.engine.switch import Settings

    if source is not None:
        load, group = _recorded(source, loaded, name, weights, context)
    else:
        assert loaded is not None
        table = _choose(loaded, name, context)
        group = _group(loaded, table, weights, context)
        load = (
            make_up(clients, connections, seed, table.address.ip.version)
            if capture is None
            else _read(capture, group)
        )
    leaver = None if leaves is None else _index(group, leaves, context)
    limits = Settings() if loaded is None else settings(loaded.switch)
    try:
        comparison = compare(load, group, limits, leaver)
    except ValueError as error:
        raise CommandError(str(error)) from None
    _show(comparison, svg, as_json)


def _choose(config: Config, name: str | None, context: click.Context) -> VirtualServerTable:
    return _named(config.virtual_server, name, "the configuration", context)


def _named(
    entries: Sequence[_Entry], name: str | None, where: str, context: click.Context
) -> _Entry:
    for entry in entries:
        if name is None or entry.name == name:
            return entry
    if name is None:
        raise CommandError(f"{where} has no virtual server")
    known = ", ".join(entry.name for entry in entries) or "none"
    raise click.UsageError(f"No virtual server {name!r} (there is: {known}).", context)


def _recorded(
    source: Path,
    config: Config | None,
    name: str | None,
    weights: str | None,
    context: click.Context,
) -> tuple[Load, ComparedGroup]:
    """Read a recording: the load of the virtual server, and its real servers."""
    from lb_switch.compare.recorded import like, recorded, with_weights
    from lb_switch.stream.recording import Recording, RecordingError
    from lb_switch.stream.schema import ConnectionRecord

    shown = "stdin" if str(source) == "-" else source.name
    try:
        with click.open_file(str(source), "rb") as file:
            recording = Recording(file, str(source))
            records = list(recording)
            served = {each.virtual_server for each in records if isinstance(each, ConnectionRecord)}
            # By default the first one that anybody came to.
            entries = sorted(recording.header.virtual_servers, key=lambda vs: vs.name not in served)
            entry = _named(entries, name, str(source), context)
            load, group, _ = recorded(recording.header, records, entry, shown)
    except RecordingError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}") from None
    if not load.arrivals:
        raise CommandError(f"{source}: no connection to {group.name} {group.endpoint} begins in it")
    group = like(group, config)
    if weights is None:
        return load, group
    own = _weights(weights, group.name, len(group.real_servers), context)
    return with_weights(load, group, own)


def _group(
    config: Config, table: VirtualServerTable, weights: str | None, context: click.Context
) -> ComparedGroup:
    from lb_switch.compare.run import ComparedGroup
    from lb_switch.config.build import PROTOCOLS

    own = [entry.weight for entry in table.real_server]
    if weights is not None:
        own = _weights(weights, table.name, len(own), context)
    endpoints = [entry.address for entry in table.real_server]
    return ComparedGroup(
        table.name,
        table.address,
        PROTOCOLS[table.protocol],
        tuple(zip(endpoints, own, strict=True)),
        table.hash_on,
        config.switch.hash_key,
    )


def _weights(text: str, name: str, count: int, context: click.Context) -> list[int]:
    words = text.split(",")
    if len(words) != count or not all(
        word.isascii() and word.isdigit() and int(word) <= 65535 for word in words
    ):
        raise click.UsageError(
            f"{name} takes {count} --weights up to 65535: not {text!r}.", context
        )
    return [int(word) for word in words]


def _index(group: ComparedGroup, leaves: str, context: click.Context) -> int:
    known = [str(endpoint) for endpoint, _ in group.real_servers]
    if leaves not in known:
        raise click.UsageError(
            f"--leaves {leaves}: {group.name} has {', '.join(known) or 'no real server'}.", context
        )
    return known.index(leaves)


def _read(capture: Path, group: ComparedGroup) -> Load:
    from lb_switch.compare.load import recorded
    from lb_switch.files.pcap import open_capture
    from lb_switch.files.record import CaptureFileError

    try:
        with open_capture(capture) as records:
            load = recorded(records, group.endpoint, group.protocol, capture.name)
    except CaptureFileError as error:
        raise CommandError(str(error)) from None
    if not load.arrivals:
        raise CommandError(
            f"{capture}: no connection to {group.name} {group.endpoint} begins in it"
        )
    return load


def _show(comparison: Comparison, svg: Path | None, as_json: bool) -> None:
    from lb_switch.compare.picture import picture
    from lb_switch.compare.table import as_object, table

    if svg is not None:
        output_files.write_text(svg, picture(comparison))
    lines = [render.as_json(as_object(comparison))] if as_json else table(comparison)
    sys.stdout.writelines(f"{line}\n" for line in lines)
