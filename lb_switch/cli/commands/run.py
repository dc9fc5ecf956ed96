"""`lb-switch run`: balance real traffic in this network namespace."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lb_switch.cli import (
    control_socket,
    explaining,
    output_files,
    privileges,
    render,
)
from lb_switch.cli.configuration import load_config
from lb_switch.cli.failures import CommandError, debugging
from lb_switch.daemon import announce
from lb_switch.daemon.invariant_check import BrokenInvariantError
from lb_switch.service import notify

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.explain.views import ViewName


DESCRIPTORS = 64
"""Files that a switch may have open at the same time: its own, clients of the control socket, and
what it takes to run `ip` at the end, without which the host would keep our rules."""


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--capture",
    type=click.Choice(["tun", "nfqueue"]),
    help="How packets reach the switch, instead of what CONFIG says.",
)
@explaining.options
@click.option(
    "--check-invariants",
    is_flag=True,
    help="Check the engine's books every second; exit 1 if they are wrong.",
)
def command(
    config: Path,
    capture: str | None,
    pcap: Path | None,
    explain: bool,
    only: tuple[str, ...],
    changed: bool,
    view: ViewName | None,
    record: Path | None,
    check_invariants: bool,
) -> None:
    """Run the switch that CONFIG describes, until Ctrl-C or SIGTERM.

    It works in the current network namespace, as a router between clients and real servers.  The
    capture rules it installs are its own, and exactly those are removed at the end; what a killed
    switch left behind, the next one removes.  Needs root.

    SIGHUP (or `lb-switch reload`) makes it read CONFIG again; no connection is lost.

    \b
    Examples:
      sudo lb-switch run lb.toml
      sudo lb-switch run lb.toml --capture nfqueue
      sudo lb-switch run lb.toml --write-pcap both-sides.pcapng
      sudo lb-switch run lb.toml --explain
      sudo lb-switch run lb.toml --explain --only connections --only c1
      sudo lb-switch run lb.toml --record rec.jsonl
    """  # noqa: D301
    output_files.check([config], [pcap, record])
    for path in (pcap, record):
        output_files.check_writable(path)
    loaded = load_config(config)
    name = capture or loaded.switch.capture
    needed = set(privileges.FOR_CAPTURE[name])
    if any(entry.health_check.kind == "icmp" for entry in loaded.virtual_server):
        needed.add("CAP_NET_RAW")
    privileges.require(sorted(needed))
    privileges.require_descriptors(DESCRIPTORS)
    level = logging.DEBUG if debugging() else logging.WARNING
    logging.basicConfig(format="lb-switch: %(message)s", level=level)
    what = explaining.wanted(explain, view, record, pcap, only, changed, loaded)
    _serve(loaded, config.absolute(), name, what, check_invariants)


def _serve(
    config: Config,
    path: Path,
    capture_name: str,
    what: explaining.Wanted,
    check_invariants: bool,
) -> None:
    from lb_switch.control.socket_file import SocketInUseError
    from lb_switch.daemon.running_switch import RunningSwitch, make_capture
    from lb_switch.host.error import HostError

    def serving() -> None:
        click.echo(render.serving(config, capture_name))
        notify.notify(notify.READY)

    running = RunningSwitch(
        config,
        lambda switch: make_capture(capture_name, config, switch),
        control_socket.of(config),
        path=path,
        say=announce.say,
        complain=announce.complain,
        on_serving=serving,
        on_stopping=lambda: notify.notify(notify.STOPPING),
        on_ended=_ignore_further_signals,
        around_reload=notify.reload_announced,
        check_invariants=check_invariants,
    )
    try:
        with explaining.live(what, running.hub, running.loop.now) as begin_to_explain:
            running.run(begin_to_explain)
    except (HostError, SocketInUseError, BrokenInvariantError) as error:
        raise CommandError(str(error)) from None


def _ignore_further_signals() -> None:
    """Let a second Ctrl-C or SIGTERM not cut the clean-up short."""
    from lb_switch.daemon.loop import ENDING

    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
