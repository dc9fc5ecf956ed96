"""Who is told what: each listener says which kinds of events it wants.

A kind that nobody wants is not built at all, so that it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.events import Event, PacketEvent, SentEvent

Listener = Callable[[Event], None]
"""Takes an event at once, and keeps nothing of the engine's objects in it.  It must not raise."""

WHOLE = 1 << 16
"""More bytes than an IP packet has."""


class Interest(NamedTuple):
    """What a listener wants to hear.

    `servers` are changes of virtual servers, real servers and settings; `keep` is how many bytes of
    a packet it needs, `only` says which packets it wants (None: all).
    """

    connections: bool = True
    servers: bool = True
    probes: bool = True
    packets: bool = True
    keep: int = WHOLE
    only: Callable[[PacketEvent | SentEvent], bool] | None = None


EVERYTHING = Interest()
PACKETS = Interest(connections=False, servers=False, probes=False)
PACKETS = Interest(connections=False, servers=False, probes=False)


class Listeners:
    """Those who listen to one switch.

    `connections`, `servers`, `probes`, `packets`   tell an event of that kind; None: nobody wants
    it.  `keep`: how many bytes are wanted of a packet.
    """

    __slots__ = ("_last_number", "_present", "connections", "keep", "packets", "probes", "servers")

    def __init__(self) -> None:
        self._last_number = 0
        self._present: list[tuple[Listener, Interest]] = []
        self._arrange()

    def __len__(self) -> int:
        return len(self._present)

    def add(self, listener: Listener, interest: Interest = EVERYTHING) -> None:
        """Let it hear what it wants from now on; a listener that is here changes its interest."""
        self._present = [each for each in self._present if each[0] != listener]
        self._present.append((listener, interest))
        self._arrange()

    def remove(self, listener: Listener) -> None:
        """Let it hear nothing any more."""
        self._present = [each for each in self._present if each[0] != listener]
        self._arrange()

    def number_of(self, connection: Connection) -> int:
        """Return the number by which every listener knows a connection, counted from 1."""
        if not connection.number:
            self._last_number += 1
            connection.number = self._last_number
        return connection.number

    def _arrange(self) -> None:
        present = self._present
        self.connections = _all([each for each, wants in present if wants.connections])
        self.servers = _all([each for each, wants in present if wants.servers])
        self.probes = _all([each for each, wants in present if wants.probes])
        wanting = [(each, wants) for each, wants in present if wants.packets]
        self.packets = _all([_filtered(each, wants.only) for each, wants in wanting])
        self.keep = max((wants.keep for _, wants in wanting), default=0)


def _all(listeners: list[Listener]) -> Listener | None:
    if len(listeners) < 2:
        return listeners[0] if listeners else None
    several = tuple(listeners)

    def tell(event: Event) -> None:
        for listener in several:
            listener(event)

    return tell


def _filtered(
    listener: Listener, only: Callable[[PacketEvent | SentEvent], bool] | None
) -> Listener:
    if only is None:
        return listener

    def tell(event: Event) -> None:
        assert isinstance(event, PacketEvent | SentEvent)
        if only(event):
            listener(event)

    return tell
