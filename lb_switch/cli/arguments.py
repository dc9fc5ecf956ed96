"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lb_switch.control.places import may_be_name
from lb_switch.engine.packet.endpoint import Endpoint


class _Place(click.ParamType):  # type: ignore[type-arg,unused-ignore] # click 8.1
    """ADDRESS:PORT, or what `may_be_name` takes in its place; what is neither is bad usage."""

    name = "ADDRESS:PORT"

    def __init__(self, may_be_name: Callable[[str], bool]) -> None:
        self._may_be_name = may_be_name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint | str:
        """Read it.  The switch knows the names."""
        if isinstance(value, Endpoint):
            return value
        try:
            return Endpoint.parse(value)
        except ValueError as error:
            if self._may_be_name(value):
                return str(value)
            self.fail(str(error), param, ctx)


SCHEDULERS = click.Choice(["rr", "wrr", "lc", "wlc", "sh", "mh"])


def _is_name(text: str) -> bool:
    return ":" not in text and not text.replace(".", "").isdigit()


virtual_server = click.argument("virtual_server", metavar="VIP:PORT|NAME", type=_Place(_is_name))
real_server = click.argument("real_server", metavar="RIP:PORT|HOST", type=_Place(may_be_name))
optional_real_server = click.argument(
    "real_server", metavar="[RIP:PORT|HOST]", type=_Place(may_be_name), required=False
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
