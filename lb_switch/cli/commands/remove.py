"""`lb-switch remove`: a real server, or a virtual server."""

from __future__ import annotations

from pathlib import Path

import click

from lb_switch.cli import arguments, control_socket
from lb_switch.engine.packet.endpoint import Endpoint


@click.command("remove")
@arguments.virtual_server
@arguments.optional_real_server
@arguments.protocol
@click.option(
    "--drain",
    "live",
    flag_value="drain",
    help="Live connections go on; those of UDP for one more UDP timeout.  (The default.)",
)
@click.option(
    "--now",
    "live",
    flag_value="now",
    help="Live connections follow on_down, as if the real servers were down.",
)
@control_socket.options
def command(
    virtual_server: Endpoint | str,
    real_server: Endpoint | str | None,
    protocol: str | None,
    live: str | None,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Remove the real server RIP:PORT from VIP:PORT; without RIP:PORT, the virtual server itself.

    No new connection goes there; live ones go on to their end, UDP clients that go on sending get
    another real server after one UDP timeout.  With --now live connections follow the virtual
    server's on_down: reset at once, another server at their next packet, or (keep) go on.  What
    the file names comes back with the next reload or restart.

    Names work too: a virtual server's, and a host's in the configuration's table `hosts`.

    \b
    Examples:
      sudo lb-switch remove 10.0.1.100:80 10.0.2.14:80
      sudo lb-switch remove 10.0.1.100:80 10.0.2.14:80 --now
      sudo lb-switch remove web s4
      sudo lb-switch remove web --now
      sudo lb-switch remove 10.0.1.101:53 --protocol udp
    """  # noqa: D301
    path = control_socket.find(config, socket)
    control_socket.change(
        path,
        "remove",
        virtual_server=virtual_server,
        real_server=real_server,
        protocol=protocol,
        live=live,
    )
