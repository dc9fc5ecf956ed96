"""What a running switch must know of its host, and its operator of both, now and after changes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from lb_switch.daemon.advice import (
    dropped_by_forward,
    own_vips,
    public_hash_key,
    where_nat_fails,
    without_effect,
)

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.engine.switch import Switch
    from lb_switch.host.view import HostView


class Surroundings:
    """Look at the host that `switch` works on, captured by `capture` ("tun" or "nfqueue").

    `complain` is told each note about the host and the configuration once.
    """

    def __init__(self, switch: Switch, capture: str, complain: Callable[[str], None]) -> None:
        self._switch = switch
        self._capture = capture
        self._complain = complain
        self._told: set[str] = set()
        self._places: object = None

    def look(self, config: Config) -> None:
        """Read the host's addresses for the switch; say what is new.

        Raises HostError if the host cannot be read.
        """
        from lb_switch.host.view import read

        host = read()
        self._switch.note_host_addresses(host.own_addresses)
        groups = self._switch.virtual_servers.values()
        self._places = _places(groups)
        notes = advice(groups, config, host, self._capture)
        for note in notes:
            if note not in self._told:
                self._complain(f"note: {note}")
        # One that went and comes back is news again.
        self._told = set(notes)

    def look_after_change(self, config: Config) -> None:
        """Look again if there are other virtual or real servers than last time."""
        if _places(self._switch.virtual_servers.values()) != self._places:
            self.look_again(config)

    def look_again(self, config: Config) -> None:
        """Look, on a switch that goes on forwarding if the host cannot be read."""
        from lb_switch.host.error import HostError

        try:
            self.look(config)
        except HostError as error:
            self._complain(f"cannot look at this host again: {error}")


def _places(groups: Collection[VirtualServer]) -> object:
    return {
        (group.protocol, group.endpoint): frozenset(each.endpoint for each in group.real_servers)
        for group in groups
    }


def advice(
    groups: Collection[VirtualServer], config: Config, host: HostView, capture: str
) -> list[str]:
    """Return what an operator should know before traffic comes, a line each."""
    from lb_switch.host.filters import about_vips

    lines = where_nat_fails(groups, host) + public_hash_key(config)
    lines += dropped_by_forward(groups, host, capture)
    if capture == "nfqueue":
        lines += own_vips(groups, host)
        lines += without_effect(about_vips(each.endpoint.ip for each in groups))
    return lines
