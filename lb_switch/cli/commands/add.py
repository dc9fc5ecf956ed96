"""`lb-switch add`: a real server, or a virtual server."""

from __future__ import annotations

from pathlib import Path

import click

from lb_switch.cli import arguments, control_socket
from lb_switch.engine.packet.endpoint import Endpoint


@click.command("add")
@arguments.virtual_server
@arguments.optional_real_server
@arguments.weight
@click.option("--name", help="A new virtual server's name.")
@click.option(
    "--scheduler",
    type=arguments.SCHEDULERS,
    help="A new virtual server's scheduler (rr if not given).",
)
@arguments.protocol
@control_socket.options
def command(
    virtual_server: Endpoint | str,
    real_server: Endpoint | str | None,
    weight: int | None,
    name: str | None,
    scheduler: str | None,
    protocol: str | None,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Add the real server RIP:PORT to VIP:PORT; without RIP:PORT, the virtual server itself.

    What is added lasts until the next reload or restart: to keep it, write it into the file.

    Names work too: a virtual server's, and a host's in the configuration's table `hosts`.

    \b
    Examples:
      sudo lb-switch add 10.0.1.100:80 10.0.2.14:80 --weight 2
      sudo lb-switch add 10.0.1.101:53 --name dns --protocol udp --scheduler sh
      sudo lb-switch add 10.0.1.101:53 10.0.2.11:53
      sudo lb-switch add web s4:80
    """  # noqa: D301
    context = click.get_current_context()
    if real_server is None:
        if name is None:
            raise click.UsageError("Give RIP:PORT, or --name for a virtual server.", context)
        if weight is not None:
            raise click.UsageError("--weight is a real server's: give RIP:PORT.", context)
    elif name is not None or scheduler is not None:
        raise click.UsageError("--name and --scheduler are a virtual server's.", context)
    path = control_socket.find(config, socket)
    control_socket.change(
        path,
        "add",
        virtual_server=virtual_server,
        real_server=real_server,
        protocol=protocol,
        weight=weight,
        name=name,
        scheduler=scheduler,
    )
