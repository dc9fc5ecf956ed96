"""`lb-switch explain`: play a recording back, as stories, header diffs or ladders.

And ask it what another scheduler would have chosen.
"""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lb_switch import examples
from lb_switch.cli import output_files
from lb_switch.cli.configuration import load_config
from lb_switch.cli.explaining import (
    ascii_option,
    check_only,
    checksum_option,
    only_option,
    write,
)
from lb_switch.cli.failures import CommandError

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.explain.style import Style
    from lb_switch.explain.views import ViewName
    from lb_switch.stream.recording import Recording
    from lb_switch.stream.schema import Record


class PacketRange(click.ParamType):  # type: ignore[type-arg,unused-ignore] # click 8.1
    """`7`, `7-9` or `7-`: packet numbers, counted from 1."""

    name = "N[-M]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """Return the first and the last number; None: no last one."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)(-(\d+)?)?", value)
        if found is None:
            self.fail(f"{value!r} is none of N, N-M, N-", param, ctx)
        first = int(found[1])
        last = int(found[3]) if found[3] else None if found[2] else first
        if first < 1:
            self.fail(f"{value!r}: packets are numbered from 1", param, ctx)
        if last is not None and last < first:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return first, last


_recording_option = click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A recording (run --record, replay --record), or - for stdin.",
)
_example_option = click.option(
    "--example",
    metavar="[NAME]",
    is_flag=False,
    flag_value="example",
    type=click.Choice(list(examples.RECORDINGS)),
    help=f"A recording that comes with lb-switch: {', '.join(examples.RECORDINGS)}.",
)
_connection_option = click.option(
    "--connection",
    metavar="WHICH",
    default="",
    help="Only this connection: its number, its client's ADDRESS:PORT, address or name.",
)


def _source(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is played back; it arrives as `source`."""
    command = _with_source(command)
    for option in (
        ascii_option,
        only_option,
        click.option(
            "--pace",
            metavar="FACTOR",
            type=click.FloatRange(min=0, min_open=True),
            help="Take the time that it took: 1 as it was, 10 ten times as fast.",
        ),
        _connection_option,
        click.option(
            "--packet",
            "packets",
            type=PacketRange(),
            help="Only these packets, numbered from 1: 7, 7-9 or 7-.",
        ),
        click.option(
            "--start",
            metavar="SECONDS",
            type=float,
            default=0.0,
            help="Begin so long after the recording began.",
        ),
        _example_option,
        click.option(
            "--from",
            "source",
            metavar="FILE",
            type=click.Path(path_type=Path, allow_dash=True),
            help="A recording (run --record, replay --record), a FIFO, or - for stdin.",
        ),
    ):
        command = option(command)
    return command


def _with_source(command: Callable[..., None]) -> Callable[..., None]:
    """Turn --from and --example into one `source`.  Bad usage is told."""

    @functools.wraps(command)
    def resolved(source: Path | None, example: str | None, **others: Any) -> None:
        context = click.get_current_context()
        if example is not None and source is not None:
            raise click.UsageError("--example brings its own recording: leave out --from.", context)
        if source is None:
            if example is None:
                raise click.UsageError("Missing option '--from' (or try --example).", context)
            source = examples.recording(example)
        command(source=source, **others)

    return resolved


@click.group("explain", no_args_is_help=False)
def command() -> None:
    """Explain what happened to packets, from a recording; needs neither root nor a network.

    A recording is made by `run --record FILE` or `replay --record FILE`.  `run --explain` and
    `replay --explain` show the same while it happens.

    \b
    Examples:
      lb-switch explain story --example
      lb-switch explain story --from rec.jsonl
      lb-switch explain diff --from rec.jsonl --packet 1 --checksum
      lb-switch explain ladder --from rec.jsonl --connection 1 --svg ladder.svg
      lb-switch explain choice --from rec.jsonl --connection 1 --scheduler lc
    """  # noqa: D301


@command.command("story")
@_source
def story(ascii_only: bool, source: Path, **playing: Any) -> None:
    """Tell what came in, what was decided and why, what went out.

    \b
    Examples:
      lb-switch explain story --from rec.jsonl
      lb-switch explain story --from rec.jsonl --connection c1 --start 2.5
      lb-switch explain story --from rec.jsonl --only servers
    """  # noqa: D301
    with _recording(source) as recording:
        _show("story", recording, _played(recording, **playing), ascii_only)


@command.command("diff", short_help="Lay original and rewritten headers side by side.")
@_source
@checksum_option
@click.option("--changed", is_flag=True, help="Only the fields that the switch changed.")
def diff(ascii_only: bool, source: Path, checksum: bool, changed: bool, **playing: Any) -> None:
    """Lay the original and the rewritten headers side by side, field by field.

    \b
    Examples:
      lb-switch explain diff --from rec.jsonl --packet 1 --changed
      lb-switch explain diff --from rec.jsonl --packet 1-3
      lb-switch explain diff --from rec.jsonl --packet 1 --checksum
    """  # noqa: D301
    with _recording(source) as recording:
        records = _played(recording, **playing)
        _show("diff", recording, records, ascii_only, checksum=checksum, changed=changed)


@command.command("ladder")
@_source
@click.option("--mermaid", is_flag=True, help="Print a Mermaid sequence diagram.")
@click.option(
    "--svg",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write a picture.",
)
def ladder(ascii_only: bool, source: Path, mermaid: bool, svg: Path | None, **playing: Any) -> None:
    """Draw both legs of each connection: client, switch, real server.

    \b
    Examples:
      lb-switch explain ladder --from rec.jsonl
      lb-switch explain ladder --from rec.jsonl --connection 1 --mermaid
      lb-switch explain ladder --from rec.jsonl --svg ladder.svg
    """  # noqa: D301
    output_files.check([source], [svg])
    with _recording(source) as recording:
        records = _played(recording, **playing)
        if mermaid or svg is not None:
            _draw(recording, records, mermaid, svg)
        else:
            _show("ladder", recording, records, ascii_only)


@command.command("page", short_help="Put a recording and its page into one HTML file.")
@_example_option
@_recording_option
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The HTML file that is written; by default named like the recording, in this folder.",
)
@_connection_option
@_with_source
def page(source: Path, output: Path | None, connection: str) -> None:
    """Write a page that plays a recording: packets that move, and what is said of each.

    It is one file, which any browser opens without a server, without a network and without root.

    \b
    Examples:
      lb-switch explain page --example failover
      lb-switch explain page --from rec.jsonl -o story.html
    """  # noqa: D301
    from lb_switch.explain.selection import Selection
    from lb_switch.web import single_file

    if output is None:
        output = Path(f"{'story' if str(source) == '-' else source.stem}.html")
    output_files.check([source], [output])
    with _recording(source) as recording:
        records = Selection(connection=connection).of(recording)
        try:
            text = single_file.build(recording.header, records, recording.name)
        except single_file.TooLongError as error:
            raise CommandError(str(error)) from None
    output_files.write_text(output, text)
    click.echo(f"{output}: open it with a browser")


@command.command("choice", short_help="Show what another scheduler would have chosen.")
@ascii_option
@click.option(
    "--scheduler",
    "schedulers",
    metavar="NAME",
    multiple=True,
    help="This scheduler (may be given again); by default every other one.",
)
@click.option(
    "--config",
    metavar="CONFIG",
    type=click.Path(path_type=Path),
    help="Whose hash_on, hash_key and limits hold; by default the defaults.",
)
@click.option(
    "--connection",
    metavar="WHICH",
    required=True,
    help="This connection: its number, its client's ADDRESS:PORT, address or name.",
)
@_example_option
@_recording_option
@_with_source
def choice(
    ascii_only: bool,
    schedulers: tuple[str, ...],
    config: Path | None,
    connection: str,
    source: Path,
) -> None:
    """Show which real server a connection got, and which one with another scheduler.

    Each scheduler is given the whole recording from its beginning, with all that happened to the
    real servers.  Persistence is off.

    \b
    Examples:
      lb-switch explain choice --from rec.jsonl --connection 3 --scheduler lc
      lb-switch explain choice --example --connection c1
    """  # noqa: D301
    from lb_switch.engine.scheduling.catalogue import CATALOGUE
    from lb_switch.explain.style import Style

    for name in schedulers:
        if name not in CATALOGUE:
            raise click.BadParameter(
                f"{name!r} is none of {', '.join(CATALOGUE)}", param_hint="'--scheduler'"
            )
    loaded = None if config is None else load_config(config)
    style = Style.of(sys.stdout, ascii_only=ascii_only)
    with _recording(source) as recording:
        write(_choices(recording, connection, schedulers, loaded, style))


@command.command("states", short_help="Show the TCP states of a connection.")
@ascii_option
@click.option("--mermaid", is_flag=True, help="Print a Mermaid state diagram.")
def states(ascii_only: bool, mermaid: bool) -> None:
    """Show the TCP states of a connection, from the table that the switch uses.

    \b
    Examples:
      lb-switch explain states
      lb-switch explain states --mermaid
    """  # noqa: D301
    from lb_switch.explain import states as table
    from lb_switch.explain.style import Style

    style = Style.of(sys.stdout, ascii_only=ascii_only)
    write(table.mermaid() if mermaid else table.text(style))


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of a recording's lines.

    \b
    Example:
      lb-switch explain schema > recording.schema.json
    """  # noqa: D301
    from lb_switch.cli.render import as_json
    from lb_switch.stream.schema import json_schema

    click.echo(as_json(json_schema(), indent=1))


def _choices(
    recording: Recording,
    connection: str,
    schedulers: tuple[str, ...],
    config: Config | None,
    style: Style,
) -> Iterator[str]:
    """Yield what the connections got and would have got, one virtual server after the other."""
    from lb_switch.compare.choice import choices
    from lb_switch.compare.recorded import like, recorded
    from lb_switch.config.build import settings
    from lb_switch.engine.scheduling.catalogue import CATALOGUE
    from lb_switch.engine.switch import Settings
    from lb_switch.explain.selection import Followed, NothingSelectedError
    from lb_switch.stream.schema import ConnectionRecord

    header, records = recording.header, list(recording)
    wanted = Followed(header, connection)
    opened = [
        record
        for record in records
        if isinstance(record, ConnectionRecord)
        and record.stage == "opened"
        and wanted.is_meant(record.connection)
    ]
    groups = [
        group
        for group in header.virtual_servers
        if any(each.virtual_server == group.name for each in opened)
    ]
    if not groups:
        raise NothingSelectedError(
            f"{recording.name}: no connection {connection} begins in it, to a virtual server that"
            " was there from the beginning"
        )
    for group in groups:
        load = recorded(header, records, group, recording.name)
        names = schedulers or tuple(name for name in CATALOGUE if name != group.scheduler)
        yield from choices(
            header,
            records,
            [each for each in opened if each.virtual_server == group.name],
            load,
            like(load.group, config),
            names,
            Settings() if config is None else settings(config.switch),
            style,
        )


@contextmanager
def _recording(source: Path) -> Iterator[Recording]:
    """Open a recording.  What is wrong with it becomes one line and exit code 1."""
    from lb_switch.explain.selection import NothingSelectedError
    from lb_switch.stream.recording import Recording, RecordingError

    try:
        file = click.open_file(str(source), "rb")
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}") from None
    with file:
        try:
            yield Recording(file, "stdin" if str(source) == "-" else str(source))
        except IsADirectoryError:
            raise CommandError(f"{source}: a directory, not a recording") from None
        except (RecordingError, NothingSelectedError) as error:
            sys.stdout.flush()
            raise CommandError(str(error)) from None


def _played(
    recording: Recording,
    start: float,
    packets: tuple[int, int | None] | None,
    connection: str,
    pace: float | None,
    only: tuple[str, ...] = (),
) -> Iterator[Record]:
    """Yield the records that are wanted, at once or when their time has come."""
    from lb_switch.explain.selection import Selection

    first, last = packets or (None, None)
    narrowed = check_only(only, recording.header.hosts)
    records = Selection(start, first, last, connection).of(recording)
    if narrowed is not None:
        records = filter(narrowed.wants, records)
    if pace is None:
        yield from records
        return
    now = None
    for record in records:
        at = getattr(record, "time", None)
        if at is not None:
            if now is not None and at > now:
                time.sleep((at - now) / pace)
            now = at
        yield record


def _show(
    name: ViewName,
    recording: Recording,
    records: Iterable[Record],
    ascii_only: bool,
    *,
    checksum: bool = False,
    changed: bool = False,
) -> None:
    """Print a view of a recording as it is read."""
    from lb_switch.explain import views
    from lb_switch.explain.style import Style

    style = Style.of(sys.stdout, ascii_only=ascii_only)
    view = views.make(name, recording.header, style, checksum=checksum, changed=changed)
    write(view.begin())
    for record in records:
        write(view.show(record))


def _draw(recording: Recording, records: Iterable[Record], mermaid: bool, svg: Path | None) -> None:
    """Make a picture of what is whole; complain about the rest afterwards."""
    from lb_switch.explain import ladder_mermaid, ladder_svg
    from lb_switch.explain.rungs import Rung, Rungs
    from lb_switch.stream.recording import RecordingError

    rungs, drawn, cut = Rungs(recording.header), list[Rung](), None
    try:
        for record in records:
            drawn += rungs.of(record)
    except RecordingError as error:
        cut = error
    if mermaid:
        write(ladder_mermaid.mermaid(drawn))
    if svg is not None:
        text = ladder_svg.svg(drawn, "client, switch and real server")
        if str(svg) != "-":
            output_files.write_text(svg, text)
        else:
            try:
                sys.stdout.write(text)
            except OSError as error:
                raise CommandError(f"{svg}: {error.strerror}") from None
    if cut is not None:
        raise cut
