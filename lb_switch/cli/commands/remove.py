"""`lb-switch remove`: a real server, or a virtual server."""

from __future__ import annotations

from pathlib import Path

import click

from lb_switch.cli import arguments, control_socket
from lb_switch.packet.endpoint import Endpoint


@click.command("remove")
@arguments.virtual_server
@arguments.optional_real_server
@arguments.protocol
@control_socket.options
def command(
    virtual_server: Endpoint,
    real_server: Endpoint | None,
    protocol: str | None,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Remove the real server RIP:PORT from VIP:PORT; without RIP:PORT, the virtual server itself.

    No new connection goes there; live ones go on to their end.  What the file names comes back
    with the next reload or restart.

    \b
    Examples:
      sudo lb-switch remove 10.0.1.100:80 10.0.2.14:80
      sudo lb-switch remove 10.0.1.101:53 --protocol udp
    """  # noqa: D301
    path = control_socket.find(config, socket)
    control_socket.change(
        path,
        "remove",
        virtual_server=virtual_server,
        real_server=real_server,
        protocol=protocol,
    )
