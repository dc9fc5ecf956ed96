"""The command `lb-switch`: its subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from lb_switch import interpreter
from lb_switch.cli.failures import BAD_USAGE, DONE, FAILED, CommandError, debugging
from lb_switch.harmless import harmless

NAME = "lb-switch"

COMMANDS = {
    "run": "Balance real traffic in this network namespace.",
    "check": "Validate a configuration file.",
    "show": "Show virtual servers, connections and counters of the running switch.",
    "events": "Print what the running switch tells: what is, then what happens.",
    "web": "Show the running switch on a page: packets that move, servers, numbers.",
    "set": "Change state or weight of a real server, or a scheduler, live.",
    "add": "Add a real server or a virtual server, live.",
    "remove": "Remove a real server or a virtual server, live.",
    "reload": "Have the running switch read its configuration file again.",
    "replay": "Put a recorded capture through the same engine, offline.",
    "explain": "Play a recording back: stories, header diffs, ladders.",
    "compare": "Put one load through every scheduler, and show what each makes of it.",
    "doctor": "Say what this machine can do, what is missing, and how to fix it.",
    "service": "The systemd unit: print it, install it.",
    "lab": "A lab of network namespaces: clients, switch, real servers.",
    "bench": "Measure speed, side by side with HAProxy, nginx and the kernel.",
}
"""Name and one-line help.  The command itself is `command` in `lb_switch.cli.commands.<name>`,
imported only when it is called."""


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"lb_switch.cli.commands.{name}").command
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, context: click.Context) -> Any:
        """Call the command.  A reader that had enough (`| head`) is no failure."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
            context.exit(DONE)
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            _discard_output()
            raise CommandError(f"cannot write the output: {error.strerror}") from error
        return result

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, and exit with 0 (done), 1 (failed) or 2 (bad usage or configuration).

        Every error is one clear line on stderr; LB_SWITCH_DEBUG=1 adds the traceback.
        """
        del prog_name  # it is lb-switch, also when it is called by another path
        _open_standard_files()
        # Programs are called by name, some of them by root: never those of the current directory.
        os.environ["PATH"] = interpreter.absolute(os.environ.get("PATH", "")) or os.defpath
        # An empty entry is the current directory here too, whatever `-P` says.
        modules = interpreter.absolute(os.environ.pop("PYTHONPATH", ""))
        if modules:
            os.environ["PYTHONPATH"] = modules
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args, NAME, standalone_mode=False, **extra)
        except CommandError as error:
            code = _say(error.lines, error.exit_code)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else NAME
            code = _say([f"{NAME}: {error.format_message()} ({path} -h)"], BAD_USAGE)
        except click.ClickException as error:
            code = _say([f"{NAME}: {error.format_message()}"], FAILED)
        except (click.Abort, KeyboardInterrupt):
            code = _say([f"{NAME}: interrupted"], FAILED)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            hint = "LB_SWITCH_DEBUG=1 shows where"
            code = _say([f"{NAME}: internal error: {text} ({hint})"], FAILED)
        sys.exit(code if isinstance(code, int) else DONE)


def _open_standard_files() -> None:
    """Give a program that was started without them (`>&-`) files that say and take nothing.

    Else the next file that is opened would be its standard output, and what is printed would go
    there; Python itself has None in their place.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = ("stdin", "stdout", "stderr").index(name)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _discard_output() -> None:
    """Leave nothing for the interpreter to flush at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(lines: Sequence[str], code: int) -> int:
    told = traceback.format_exc().splitlines() if debugging() else []
    for line in (*told, *lines):
        click.echo(harmless(line), err=True)
    return code


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("lb-switch")
        except PackageNotFoundError:
            number = "(not installed)"
        click.echo(f"lb-switch {number}")
        context.exit()


@click.command(
    cls=Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """A userspace, packet-level NAT load balancer.

    Clients connect to a virtual IP; the switch rewrites their packets so that they reach one of
    several real servers, and the answers so that they seem to come from the virtual IP.

    \b
    First steps:
      sudo lb-switch doctor                       what does this machine lack?
      sudo lb-switch lab up                       a network to play with
      sudo lb-switch lab exec c1 curl http://10.0.1.100/
      lb-switch check lb.toml                     is my configuration right?
      sudo lb-switch run lb.toml                  balance real traffic
      sudo lb-switch show --watch                 who serves how many connections?
      sudo lb-switch set VIP:PORT RIP:PORT --state drain
    """  # noqa: D301
