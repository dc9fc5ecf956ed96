"""`lb-switch set`: state and weight of a real server."""

from __future__ import annotations

from pathlib import Path

import click

from lb_switch.cli import arguments, control_socket
from lb_switch.engine.packet.endpoint import Endpoint


@click.command("set")
@arguments.virtual_server
@arguments.real_server
@click.option(
    "--state",
    type=click.Choice(["ready", "drain", "maint"]),
    help="ready: serves; drain: keeps its connections, gets no new one; maint: as if down.",
)
@arguments.weight
@arguments.protocol
@control_socket.options
def command(
    virtual_server: Endpoint | str,
    real_server: Endpoint | str,
    state: str | None,
    weight: int | None,
    protocol: str | None,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Change administrative state or weight of the real server RIP:PORT of VIP:PORT.

    Live connections go on; those of a server in maint end as the virtual server's on_down says:
    with reset, clients that wait for it get a RST at once, and the server too.
    A reload keeps the state and brings back the file's weight.

    Names work too: a virtual server's, and a host's in the configuration's table `hosts`.

    \b
    Examples:
      sudo lb-switch set 10.0.1.100:80 10.0.2.11:80 --state drain
      sudo lb-switch set 10.0.1.100:80 10.0.2.11:80 --state ready --weight 3
      sudo lb-switch set web s1 --state drain
    """  # noqa: D301
    if state is None and weight is None:
        raise click.UsageError("Give --state or --weight.", click.get_current_context())
    path = control_socket.find(config, socket)
    control_socket.change(
        path,
        "set",
        virtual_server=virtual_server,
        real_server=real_server,
        protocol=protocol,
        state=state,
        weight=weight,
    )
