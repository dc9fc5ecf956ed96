"""`--write-pcap`: both sides of the switch in one pcapng file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lb_switch.cli.failures import CommandError

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.engine.switch import Switch
    from lb_switch.export.both_sides import BothSides
    from lb_switch.export.pcapng_file import RecordedFile

option = click.option(
    "--write-pcap",
    "pcap",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write both sides of the switch to a pcapng file for Wireshark (or to a FIFO).",
)


@contextlib.contextmanager
def live(
    path: Path | None, switch: Switch, config: Config, routed: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Write the packets of a running switch; say at the end what could not be written.

    Raises CommandError if the file cannot be opened.
    """
    if path is None:
        yield
        return
    from lb_switch.engine.listeners import PACKETS
    from lb_switch.export.file_outlet import FileOutlet, OutletError
    from lb_switch.export.pcapng_file import LiveListener

    try:
        outlet = FileOutlet(path)
    except OutletError as error:
        raise CommandError(str(error)) from None
    epoch_ns = time.time_ns() - time.monotonic_ns()
    listener = LiveListener(_sides(switch, config, routed), outlet, epoch_ns)
    switch.listen(listener, PACKETS)
    try:
        yield
    finally:
        switch.stop_listening(listener)
        outlet.close()
        if listener.complaint:
            click.echo(f"lb-switch: note: {listener.complaint}", err=True)


def recorded(path: Path, switch: Switch, config: Config) -> RecordedFile:
    """Create the file for a replay.  Raises CaptureFileError."""
    from lb_switch.export.pcapng_file import RecordedFile
    from lb_switch.stream.wires import not_routed

    return RecordedFile(path, _sides(switch, config, not_routed))


def _sides(switch: Switch, config: Config, routed: Callable[[], bool] | None) -> BothSides:
    from lb_switch.config.build import host_names
    from lb_switch.export.both_sides import BothSides

    return BothSides(switch.virtual_servers.values(), host_names(config), routed=routed)
