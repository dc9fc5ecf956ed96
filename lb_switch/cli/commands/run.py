"""`lb-switch run`: balance real traffic in this network namespace."""

from __future__ import annotations

import logging
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lb_switch.cli import (
    control_socket,
    explaining,
    output_files,
    privileges,
    render,
    write_pcap,
)
from lb_switch.cli.configuration import load_config
from lb_switch.cli.failures import CommandError, debugging
from lb_switch.daemon import announce
from lb_switch.daemon.invariant_check import BrokenInvariantError, InvariantCheck
from lb_switch.daemon.surroundings import Surroundings
from lb_switch.service import notify

if TYPE_CHECKING:
    from lb_switch.capture.interface import LiveCapture
    from lb_switch.config.schema import Config
    from lb_switch.engine.switch import Switch
    from lb_switch.explain.views import ViewName


DESCRIPTORS = 64
"""Files that a switch may have open at the same time: its own, clients of the control socket, and
what it takes to run `ip` at the end, without which the host would keep our rules."""

TIDY_SECONDS = 30.0
"""Between two looks for host rules that nobody needs any more."""


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--capture",
    type=click.Choice(["tun", "nfqueue"]),
    help="How packets reach the switch, instead of what CONFIG says.",
)
@write_pcap.option
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
    what = explaining.wanted(explain, view, record, only, changed, loaded)
    _serve(loaded, config.absolute(), name, pcap, what, check_invariants)


def _serve(
    config: Config,
    path: Path,
    capture_name: str,
    pcap: Path | None,
    what: explaining.Wanted,
    check_invariants: bool,
) -> None:
    from lb_switch.config.build import build, health_checks
    from lb_switch.control.changes import Changes
    from lb_switch.control.messages import RequestError
    from lb_switch.control.operations import Operations
    from lb_switch.control.server import ControlServer
    from lb_switch.control.socket_file import SocketInUseError
    from lb_switch.control.verbs import Verbs
    from lb_switch.daemon.loop import Loop
    from lb_switch.health.checks import HealthChecks
    from lb_switch.host.error import HostError

    switch = build(config, secrets.token_bytes(16))
    clock = time.monotonic

    def ready() -> None:
        control.open()
        loop.register(control, control.handle_ready)
        surroundings.look(config)
        health.update(switch.virtual_servers.values(), health_checks(config), clock())
        if bookkeeper is not None:
            bookkeeper.start(clock())
        tidy(clock())
        begin_to_explain()
        click.echo(render.serving(config, capture_name))
        notify.notify(notify.READY)

    def tidy(now: float) -> None:
        loop.call_at(now + TIDY_SECONDS, tidy)
        operations.tidy(now)

    def hang_up(now: float) -> None:
        try:
            changes = operations.reload(now)
        except RequestError as error:
            for line in (f"{error}", *error.details):
                announce.complain(f"reload: {line}")
        else:
            surroundings.look_again(operations.config)
            for line in changes or ["nothing changed"]:
                announce.say(f"reload: {line}")

    surroundings = Surroundings(switch, capture_name, announce.complain)
    capture = _make_capture(capture_name, config, switch)
    loop = Loop(
        switch,
        capture,
        on_ready=ready,
        on_stop=lambda: notify.notify(notify.STOPPING),
        on_hangup=hang_up,
        clock=clock,
    )
    health = HealthChecks(switch, loop, say=announce.say, complain=announce.complain)
    operations = Operations(
        switch,
        config,
        capture,
        path=path,
        followers=[
            lambda groups, now: health.update(groups, health_checks(operations.config), now),
            lambda _groups, _now: surroundings.look_after_change(operations.config),
        ],
        around_reload=notify.reload_announced,
    )
    verbs = Verbs(switch, clock(), health, Changes(operations), lambda: operations.config.hosts)
    control = ControlServer(control_socket.of(config), verbs)
    bookkeeper = InvariantCheck(switch, loop, announce.complain) if check_invariants else None
    try:
        control.claim()
        with (
            write_pcap.live(pcap, switch, config, lambda: capture.routed),
            explaining.live(
                what, switch, config, clock, lambda: capture.routed
            ) as begin_to_explain,
        ):
            try:
                loop.run()
            finally:
                _ignore_further_signals()
        if bookkeeper is not None:
            bookkeeper.finish()
    except (HostError, SocketInUseError, BrokenInvariantError) as error:
        raise CommandError(str(error)) from None
    finally:
        control.close()
        health.close()


def _ignore_further_signals() -> None:
    """Let a second Ctrl-C or SIGTERM not cut the clean-up short."""
    from lb_switch.daemon.loop import ENDING

    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _make_capture(name: str, config: Config, switch: Switch) -> LiveCapture:
    virtual_servers = switch.virtual_servers.values()
    if name == "nfqueue":
        from lb_switch.capture.nfqueue import NfqueueCapture

        return NfqueueCapture(
            virtual_servers,
            queue=config.switch.queue,
            own_addresses=config.switch.take_own_addresses,
        )
    from lb_switch.capture.tun import TunCapture

    return TunCapture(virtual_servers)
