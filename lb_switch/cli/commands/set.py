"""`lb-switch set`: state and weight of a real server, scheduler of a virtual server."""

from __future__ import annotations

from pathlib import Path

import click

from lb_switch.cli import arguments, control_socket
from lb_switch.engine.packet.endpoint import Endpoint


@click.command("set")
@arguments.virtual_server
@arguments.optional_real_server
@click.option(
    "--state",
    type=click.Choice(["ready", "drain", "maint"]),
    help="ready: serves; drain: keeps its connections, gets no new one; maint: as if down.",
)
@arguments.weight
@click.option(
    "--scheduler",
    type=arguments.SCHEDULERS,
    help="Of the virtual server; no RIP:PORT then.",
)
@arguments.protocol
@control_socket.options
def command(
    virtual_server: Endpoint | str,
    real_server: Endpoint | str | None,
    state: str | None,
    weight: int | None,
    scheduler: str | None,
    protocol: str | None,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Change administrative state or weight of the real server RIP:PORT of VIP:PORT.

    Without RIP:PORT: change the scheduler of VIP:PORT; connections stay where they are, and a
    reload brings back the file's scheduler.

    Live connections go on; those of a server in maint end as the virtual server's on_down says:
    with reset, clients that wait for it get a RST at once, and the server too.
    A reload keeps the state and brings back the file's weight.

    Names work too: a virtual server's, and a host's in the configuration's table `hosts`.

    \b
    Examples:
      sudo lb-switch set 10.0.1.100:80 10.0.2.11:80 --state drain
      sudo lb-switch set 10.0.1.100:80 10.0.2.11:80 --state ready --weight 3
      sudo lb-switch set web s1 --state drain
      sudo lb-switch set web --scheduler wlc
    """  # noqa: D301
    of_server = state is not None or weight is not None
    if (scheduler is None) == (not of_server):
        raise click.UsageError(
            "Give --state or --weight, or else --scheduler.", click.get_current_context()
        )
    if of_server and real_server is None:
        raise click.UsageError(
            "Missing argument 'RIP:PORT|HOST': whose state or weight?", click.get_current_context()
        )
    if scheduler is not None and real_server is not None:
        raise click.UsageError(
            "A scheduler is the virtual server's: leave RIP:PORT out.", click.get_current_context()
        )
    path = control_socket.find(config, socket)
    control_socket.change(
        path,
        "set",
        virtual_server=virtual_server,
        real_server=real_server,
        protocol=protocol,
        state=state,
        weight=weight,
        scheduler=scheduler,
    )
