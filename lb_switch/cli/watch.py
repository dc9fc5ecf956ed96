"""Show something again and again: in place on a terminal, one below the other elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import click

from lb_switch.control.client import ControlClient, ControlError

DEFAULT_SECONDS = 2.0

Look = Callable[[ControlClient], Iterable[str]]
"""Asks the switch and returns lines."""

# ECMA-48: erase the whole display, go to its top left corner; erase the rest of line or display.
_CLEAR, _HOME = "\x1b[2J", "\x1b[H"
_REST_OF_LINE, _REST_OF_DISPLAY = "\x1b[K", "\x1b[J"


class _Seconds(click.FloatRange):
    """A finite number: not a number is in every range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


class WatchCommand(click.Command):
    """A command whose option `--watch [SECONDS]` may stand before an argument.

    Click would take whatever follows for the option's value.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, the default number of seconds put in where none is given."""
        complete: list[str] = []
        for argument, following in pairwise([*args, ""]):
            plain = argument == "--watch" and not _is_number(following)
            complete.append(f"--watch={DEFAULT_SECONDS:g}" if plain else argument)
        return super().parse_args(ctx, complete)


def option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `watch`: seconds, or None."""
    return click.option(
        "--watch",
        type=_Seconds(min=0.1, max=86_400),
        metavar="[SECONDS]",
        help=f"Show it again every {DEFAULT_SECONDS:g} or SECONDS seconds, until Ctrl-C.",
    )(command)


def watch(connect: Callable[[], ControlClient], look: Look, title: str, seconds: float) -> None:
    """Show what `look` sees every so many seconds, until Ctrl-C.

    Each look is a conversation of its own, so that a switch that ends, or another one that starts
    in its place, is said, and no more.  A look is complete before it is written: whoever reads
    slowly delays nobody but himself.
    """
    show = Terminal().show if sys.stdout.isatty() else append
    switch = SwitchIdentity()
    try:
        while True:
            start = time.monotonic()
            try:
                with connect() as client:
                    news = switch.news(client.ask("show", what="stats"))
                    lines = list(look(client))
            except ControlError as error:
                news, lines = switch.gone(str(error)), []
            show(f"{title}, every {seconds:g} s", news, lines)
            time.sleep(max(0.0, start + seconds - time.monotonic()))
    except KeyboardInterrupt:
        return


class SwitchIdentity:
    """Tells one run of the switch from the next."""

    def __init__(self) -> None:
        self._process: int | None = None
        self._is_gone = False

    def news(self, stats: dict[str, Any]) -> str:
        """Return what is to be said about the switch that answered, mostly nothing."""
        process, before = stats["pid"], self._process
        was_gone, self._is_gone = self._is_gone, False
        self._process = process
        if before is not None and process != before:
            return (
                f"the switch was restarted (process {before}, now {process}): counters begin anew"
            )
        return "the switch answers again" if was_gone else ""

    def gone(self, reason: str) -> str:
        """Return what is to be said about a switch that did not answer: nothing the next time.

        The reason may be another one then, as it ends step by step.
        """
        was_gone, self._is_gone = self._is_gone, True
        return "" if was_gone else f"{reason} (waiting for it)"


class Terminal:
    """Draws over what it drew before."""

    def __init__(self) -> None:
        self._began = False
        self._news = ""

    def show(self, title: str, news: str, lines: Sequence[str]) -> None:
        """Draw as much as fits.  News stay on the screen until there are others."""
        self._news = news or self._news
        width, height = shutil.get_terminal_size()
        shown = [title, self._news, *lines]
        if len(shown) >= height:
            hidden = len(shown) - (height - 2)
            shown = [*shown[: height - 2], f"... {hidden} more lines"]
        text = "".join(f"{line[:width]}{_REST_OF_LINE}\n" for line in shown)
        before = "" if self._began else _CLEAR
        self._began = True
        sys.stdout.write(f"{before}{_HOME}{text}{_REST_OF_DISPLAY}")
        sys.stdout.flush()


def append(_title: str, news: str, lines: Sequence[str]) -> None:
    """Write below what was written before, news to stderr; a JSON document becomes one line."""
    if news:
        click.echo(f"lb-switch: {news}", err=True)
    if lines:
        one_document = lines[0].startswith(("[", "{"))
        sys.stdout.write("".join(lines) if one_document else "".join(f"{line}\n" for line in lines))
        sys.stdout.write("\n")
        sys.stdout.flush()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
