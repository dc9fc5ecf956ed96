"""`lb-switch run`: balance real traffic in this network namespace."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lb_switch.cli import announce, privileges, render, write_pcap
from lb_switch.cli.configuration import load_config, refuse_unsupported
from lb_switch.cli.failures import CommandError, debugging

if TYPE_CHECKING:
    from lb_switch.capture.interface import LiveCapture
    from lb_switch.config.schema import Config
    from lb_switch.switch import Switch


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--capture",
    type=click.Choice(["tun", "nfqueue"]),
    help="How packets reach the switch, instead of what CONFIG says.",
)
@write_pcap.option
def command(config: Path, capture: str | None, pcap: Path | None) -> None:
    """Run the switch that CONFIG describes, until Ctrl-C or SIGTERM.

    It works in the current network namespace, as a router between clients and real servers.  The
    capture rules it installs are its own, and exactly those are removed at the end; what a killed
    switch left behind, the next one removes.  Needs root.

    \b
    Examples:
      sudo lb-switch run lb.toml
      sudo lb-switch run lb.toml --capture nfqueue
      sudo lb-switch run lb.toml --write-pcap both-sides.pcapng
    """  # noqa: D301
    loaded = load_config(config)
    refuse_unsupported(loaded)
    name = capture or loaded.switch.capture
    needed = set(privileges.FOR_CAPTURE[name])
    if any(entry.health_check.kind == "icmp" for entry in loaded.virtual_server):
        needed.add("CAP_NET_RAW")
    privileges.require(sorted(needed))
    level = logging.DEBUG if debugging() else logging.WARNING
    logging.basicConfig(format="lb-switch: %(message)s", level=level)
    _serve(loaded, name, pcap)


def _serve(config: Config, capture_name: str, pcap: Path | None) -> None:
    from lb_switch.capture.interface import CaptureError
    from lb_switch.config.build import build
    from lb_switch.control.server import ControlServer
    from lb_switch.control.socket_file import SocketInUseError
    from lb_switch.control.verbs import Verbs
    from lb_switch.health.checks import HealthChecks
    from lb_switch.runtime import Loop

    switch = build(config)
    clock = time.monotonic

    def ready() -> None:
        control.open()
        loop.register(control, lambda _now: control.handle_ready())
        for line in _advice(switch):
            click.echo(f"lb-switch: note: {line}", err=True)
        health.update(switch.virtual_servers.values())
        click.echo(render.serving(config, capture_name))

    capture = _make_capture(capture_name, config, switch)
    loop = Loop(switch, capture, on_ready=ready, clock=clock)
    health = HealthChecks(switch, loop, clock=clock, say=announce.say, complain=announce.complain)
    control = ControlServer(Path(config.switch.control_socket), Verbs(switch, clock, health))
    try:
        control.claim()
        with write_pcap.live(pcap, switch, config):
            loop.run()
    except (CaptureError, SocketInUseError) as error:
        raise CommandError(str(error)) from None
    finally:
        control.close()
        health.close()


def _make_capture(name: str, config: Config, switch: Switch) -> LiveCapture:
    virtual_servers = switch.virtual_servers.values()
    if name == "nfqueue":
        from lb_switch.capture.nfqueue import NfqueueCapture

        return NfqueueCapture(virtual_servers, queue=config.switch.queue)
    from lb_switch.capture.tun import TunCapture

    return TunCapture(virtual_servers)


def _advice(switch: Switch) -> list[str]:
    from lb_switch.capture.host.view import read
    from lb_switch.cli.advice import shared_subnets

    return shared_subnets(switch.virtual_servers.values(), read())
