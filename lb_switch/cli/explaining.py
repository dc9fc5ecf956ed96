"""What `run`, `replay` and `explain` have in common: views on stdout, and recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

import click

from lb_switch.cli.failures import CommandError
from lb_switch.files.private_file import open_to_write

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.engine.events import Event
    from lb_switch.engine.switch import Switch
    from lb_switch.explain.only import Only
    from lb_switch.explain.views import View, ViewName
    from lb_switch.stream.encode import Encoder
    from lb_switch.stream.hub import Hub
    from lb_switch.stream.live import Live

VIEWS = ("story", "diff", "ladder")

ascii_option = click.option(
    "--ascii", "ascii_only", is_flag=True, help="Draw with ASCII even where more is possible."
)
checksum_option = click.option(
    "--checksum", is_flag=True, help="Walk through the checksum arithmetic, word by word."
)


class Wanted(NamedTuple):
    """What the options ask for: a view on stdout, a recording, both sides in a capture file."""

    view: ViewName | None
    record: Path | None
    pcap: Path | None
    only: tuple[str, ...] = ()
    """Words that narrow the view; the recording has everything."""
    changed: bool = False
    """Of the diff: leave out what stayed as it was."""


only_option = click.option(
    "--only",
    metavar="WHAT",
    multiple=True,
    help="Only connections, packets or servers; only this host, or this port.  May be repeated.",
)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what asks for views and files; --write-pcap arrives as `pcap`."""
    for option in (
        click.option(
            "--write-pcap",
            "pcap",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Write both sides of the switch to a pcapng file for Wireshark (or to a FIFO).",
        ),
        click.option(
            "--record",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Record every event, for `lb-switch explain --from FILE` (or to a FIFO).",
        ),
        click.option(
            "--view",
            type=click.Choice(VIEWS),
            help="Explain by this view; --explain alone means story.",
        ),
        only_option,
        click.option(
            "--changed", is_flag=True, help="With --view diff: leave out what stayed as it was."
        ),
        click.option("--explain", is_flag=True, help="Let every packet explain itself."),
    ):
        command = option(command)
    return command


def wanted(
    explain: bool,
    view: ViewName | None,
    record: Path | None,
    pcap: Path | None,
    only: tuple[str, ...],
    changed: bool,
    config: Config,
) -> Wanted:
    """Return what the options mean together.  Bad usage is told."""
    if only and not explain and view is None:
        raise click.UsageError("--only narrows --explain or --view.", click.get_current_context())
    if changed and view != "diff":
        raise click.UsageError("--changed goes with --view diff.", click.get_current_context())
    check_only(only, hosts(config))
    return Wanted(view or ("story" if explain else None), record, pcap, only, changed)


def check_only(only: tuple[str, ...], hosts: Mapping[str, str]) -> Only | None:
    """Return what the words of `--only` ask for, None without any.  Bad usage is told."""
    if not only:
        return None
    from lb_switch.explain.only import Only, UnknownWordError

    try:
        return Only(only, hosts)
    except UnknownWordError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None


def write(lines: Iterable[str]) -> None:
    """Print lines at once.  Names may hold what the reader's encoding does not know."""
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:
        sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


@contextmanager
def live(what: Wanted, hub: Hub, clock: Callable[[], float]) -> Iterator[Callable[[float], None]]:
    """Yield what begins to explain a running switch; stop at the end, and say what was lost.

    What begins raises CommandError if a file cannot be written.
    """
    started: list[Live] = []

    def begin(now: float) -> None:
        if what.view is None and what.record is None and what.pcap is None:
            return
        from lb_switch.stream.live import Live

        narrowed = [argument for word in what.only for argument in ("--only", word)]
        narrowed += ["--changed"] * what.changed
        view = None if what.view is None else [what.view, *narrowed]
        try:
            started.append(Live(hub, now, view=view, record=what.record, pcap=what.pcap))
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None

    try:
        yield begin
    finally:
        for each in started:
            for line in each.close(clock()):
                click.echo(f"lb-switch: note: {line}", err=True)


class Offline:
    """Explains a replay, in this process: there is no packet path to hold up.

    What is shown was read back from a recording's line, so that both are the same.  `number` is
    that of the packet at hand, in the capture file.  `tell` writes: the engine, whose listener
    this is, must not meet the errors of files.
    """

    def __init__(self, what: Wanted, switch: Switch, config: Config) -> None:
        self.number = 1
        self._what = what
        self._switch = switch
        self._config = config
        self._encoder: Encoder | None = None
        self._view: View | None = None
        self._only: Only | None = None
        self._file: BinaryIO | None = None
        self._untold: list[bytes] = []
        self._time = 0.0

    @property
    def _is_wanted(self) -> bool:
        return self._what.view is not None or self._what.record is not None

    def __enter__(self) -> Self:
        """Listen, if anything is wanted.  Raises CommandError if the recording cannot be made."""
        path = self._what.record
        if path is not None:
            try:
                self._file = open(open_to_write(path), "wb")
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}") from None
        if self._is_wanted:
            self._switch.listen(self._take)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as full:
                if error is None:  # else it was said already
                    raise CommandError(f"{self._what.record}: {full.strerror}") from None

    def tell(self) -> None:
        """Write what has happened since the last time.  Raises CommandError if it cannot."""
        lines, self._untold = self._untold, []
        for line in lines:
            self._keep(line)
            if self._what.view is not None:
                self._show(self._what.view, line)

    def finish(self) -> None:
        """Tell the end; without it a recording counts as cut off."""
        if self._is_wanted:
            from lb_switch.stream import encode

            encoder = self._begun(0.0)
            self._untold.append(encode.end(self._time, encoder.packets, 0))
            self.tell()

    def _take(self, event: Event) -> None:
        from lb_switch.engine.events import PacketEvent

        encoder = self._begun(event.time)
        self._time = event.time
        if isinstance(event, PacketEvent):
            event = event._replace(number=self.number)
        self._untold.append(encoder.encode(event))

    def _begun(self, now: float) -> Encoder:
        """Write the header before the first event, whose time is the recording's beginning."""
        if self._encoder is None:
            from lb_switch.stream.encode import Encoder
            from lb_switch.stream.wires import not_routed

            self._encoder = Encoder(self._switch.listeners.number_of, not_routed)
            self._untold.append(self._encoder.header(self._switch, hosts(self._config), now))
        return self._encoder

    def _show(self, name: ViewName, line: bytes) -> None:
        """Show a line of the recording; the first is the header."""
        if self._view is None:
            from lb_switch.explain import views
            from lb_switch.explain.style import Style
            from lb_switch.stream.recording import Recording

            header = Recording([line], "replay").header
            self._view = views.make(name, header, Style.of(sys.stdout), changed=self._what.changed)
            self._only = check_only(self._what.only, header.hosts)
            write(self._view.begin())
        else:
            from lb_switch.stream.schema import decode

            record = decode(line)
            if self._only is None or self._only.wants(record):
                write(self._view.show(record))

    def _keep(self, line: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(line)
            except OSError as error:
                raise CommandError(f"{self._what.record}: {error.strerror}") from None


def hosts(config: Config) -> dict[str, str]:
    """Return the names of machines, by address."""
    from lb_switch.config.build import host_names

    return {str(ip): name for ip, name in host_names(config).items()}
