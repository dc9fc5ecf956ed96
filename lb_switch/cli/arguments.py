"""Arguments that several commands take."""

from __future__ import annotations

from typing import Any

import click

from lb_switch.packet.endpoint import Endpoint


class EndpointArgument(click.ParamType):  # type: ignore[type-arg,unused-ignore] # click 8.1
    """ADDRESS:PORT; what is none is bad usage."""

    name = "ADDRESS:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        """Read it."""
        if isinstance(value, Endpoint):
            return value
        try:
            return Endpoint.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


virtual_server = click.argument("virtual_server", metavar="VIP:PORT", type=EndpointArgument())
real_server = click.argument("real_server", metavar="RIP:PORT", type=EndpointArgument())
optional_real_server = click.argument(
    "real_server", metavar="[RIP:PORT]", type=EndpointArgument(), required=False
)
protocol = click.option(
    "--protocol",
    type=click.Choice(["tcp", "udp"]),
    help="Needed where tcp and udp are served at one VIP:PORT.",
)
weight = click.option(
    "--weight",
    type=click.IntRange(0, 65535),
    help="Share of new connections; 0: none.",
)
