"""`lb-switch replay`: a recorded capture through the same engine, offline."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lb_switch import examples
from lb_switch.cli import explaining, output_files, render
from lb_switch.cli.configuration import load_config
from lb_switch.cli.failures import CommandError

if TYPE_CHECKING:
    from lb_switch.explain.views import ViewName


@click.command("replay")
@click.argument("config", metavar="[CONFIG", type=click.Path(path_type=Path), required=False)
@click.argument("capture", metavar="IN.pcap]", type=click.Path(path_type=Path), required=False)
@click.option("--example", is_flag=True, help="Replay what comes with lb-switch, to try it.")
@click.option(
    "-w",
    "--write",
    "target",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="Write what would leave the switch; pcapng if the name ends in .pcapng, else pcap.",
)
@explaining.options
@click.option("--json", "as_json", is_flag=True, help="One JSON object per packet.")
def command(
    config: Path | None,
    capture: Path | None,
    example: bool,
    target: Path | None,
    pcap: Path | None,
    explain: bool,
    only: tuple[str, ...],
    changed: bool,
    view: ViewName | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Put the packets of IN.pcap through the switch that CONFIG describes.

    Works offline and without root.  The packets' timestamps are the clock, so that every run
    gives the same answers; real servers are taken as healthy.  Prints a line for each packet and
    then the packets by reason.

    \b
    Examples:
      lb-switch replay --example
      lb-switch replay --example --view ladder
      lb-switch replay lb.toml recorded.pcap
      lb-switch replay lb.toml recorded.pcap -w translated.pcapng
      lb-switch replay lb.toml recorded.pcap --write-pcap both-sides.pcapng
      lb-switch replay lb.toml recorded.pcap --json | jq .verdict
      lb-switch replay lb.toml recorded.pcap --explain --only connections
      lb-switch replay lb.toml recorded.pcap --record rec.jsonl
    """  # noqa: D301
    if (explain or view) and as_json:
        raise click.UsageError("--json and --explain cannot go together.")
    config, capture = _files(config, capture, example)
    output_files.check([config, capture], [target, pcap, record])
    loaded = load_config(config)
    what = explaining.wanted(explain, view, record, pcap, only, changed, loaded)
    from lb_switch.config.build import build
    from lb_switch.export.pcapng_file import RecordedFile
    from lb_switch.files.pcap import create_capture, open_capture
    from lb_switch.files.record import CaptureFileError
    from lb_switch.replay import Replay

    try:
        with contextlib.ExitStack() as files:
            records = files.enter_context(open_capture(capture))
            out = files.enter_context(create_capture(target, like=records)) if target else None
            switch = build(loaded)
            both = None
            if pcap:
                both = files.enter_context(RecordedFile(pcap, switch, explaining.hosts(loaded)))
            told = files.enter_context(explaining.Offline(what, switch, loaded))
            replay = Replay(switch, records)
            for result in replay:
                row = result.as_dict()
                line = render.as_json(row) if as_json else render.replay_line(row)
                if not what.view:
                    sys.stdout.write(f"{line}\n")
                for sent in result.sent if out else ():
                    assert out is not None
                    out.write(sent)
                if both and result.event:
                    both.note(result.event, result.number, result.record.time_ns)
                told.tell()
                told.number = result.number + 1
            told.finish()
            summary = replay.summary()
    except CaptureFileError as error:
        raise CommandError(str(error)) from None
    lines = [render.as_json({"summary": summary})] if as_json else render.reasons(summary)
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _files(config: Path | None, capture: Path | None, example: bool) -> tuple[Path, Path]:
    """Return what is given, or the example's files.  Raises click.UsageError."""
    context = click.get_current_context()
    if example:
        if config is not None:
            raise click.UsageError("--example brings its own CONFIG and IN.pcap.", context)
        return examples.CONFIG, examples.CAPTURE
    if config is None or capture is None:
        missing = "CONFIG" if config is None else "IN.pcap"
        raise click.UsageError(f"Missing argument '{missing}' (or try --example).", context)
    return config, capture
