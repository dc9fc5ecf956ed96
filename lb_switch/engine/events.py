"""What leaves the engine while somebody listens: values, never strings for a screen.

No event is built that nobody wants (`listeners`).  Objects (connections, servers) are the engine's
own: a listener reads them at once and keeps nothing of them.
"""

from __future__ import annotations

import enum
from typing import Literal, NamedTuple

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import Direction, State
from lb_switch.engine.outcome import Choice
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.verdict import Verdict


class PacketEvent(NamedTuple):
    """One packet was handled.

    `number` counts the packets told of, from 1.  `before` is the IP packet as it came, `after` as
    it went on, both as far as anybody wants them; they are equal unless it was forwarded.  `length`
    is that of the whole packet as it was captured.  `connection`, `direction`, `old_state` and
    `state` (before and after the packet) are None where the packet belongs to no connection,
    `old_state` also where it opened one, `virtual_server` where it matched none.  `timeout` is how
    many seconds the connection now lives without another packet.
    """

    time: float
    number: int
    before: bytes
    after: bytes
    length: int
    partial: bool
    verdict: Verdict
    virtual_server: VirtualServer | None = None
    connection: Connection | None = None
    direction: Direction | None = None
    old_state: State | None = None
    state: State | None = None
    timeout: float | None = None
    choice: Choice | None = None


class ConnectionStage(enum.Enum):
    """What happened to a connection."""

    OPENED = "opened"
    CHANGED = "changed"
    CLOSED = "closed"


class Cause(enum.Enum):
    """Why a connection left the table."""

    TIMEOUT = "timeout"
    PORT_REUSE = "port_reuse"
    """A SYN on its ports opens a new one."""
    REPLY_KEY_NEEDED = "reply_key_needed"
    """It was closed, and another connection's answers come under the same key."""
    TABLE_FULL = "table_full"
    """It gave way to a newcomer."""
    SOURCE_PORT_NEEDED = "source_port_needed"
    """Full NAT: it gave way to a newcomer."""
    OUT_OF_SERVICE = "out_of_service"
    """Its real server is out of service."""
    TAKEN_ANEW = "taken_anew"
    """Its real server took a new connection on these ports."""


class ConnectionEvent(NamedTuple):
    """A connection came into the table, changed its state, or left the table.

    `cause` says why it left; None unless it did.
    """

    time: float
    stage: ConnectionStage
    connection: Connection
    old_state: State | None
    state: State
    cause: Cause | None = None


class SentEvent(NamedTuple):
    """The switch sent a packet of its own that nobody had asked for: `packet`, a whole IP packet.

    `direction` says whom it reaches: the real server (ORIGINAL) or the client (REPLY) of the
    connection.  (An answer of the switch's stands in the verdict of the packet that it answers.)
    """

    time: float
    packet: bytes
    virtual_server: VirtualServer | None
    connection: Connection
    direction: Direction


class Aspect(enum.Enum):
    """What changed of a real server."""

    HEALTH = "health"
    STATE = "state"
    WEIGHT = "weight"


class ServerEvent(NamedTuple):
    """A real server changed.  `finding` is what a health check found ("connect refused")."""

    time: float
    virtual_server: VirtualServer
    real_server: RealServer
    changed: Aspect
    finding: str = ""


class GroupStage(enum.Enum):
    """What happened to a virtual server."""

    ADDED = "added"
    CHANGED = "changed"
    """Its scheduler, its options, or the order of its real servers."""
    REMOVED = "removed"
    SERVER_ADDED = "server_added"
    SERVER_REMOVED = "server_removed"


class VirtualServerEvent(NamedTuple):
    """A virtual server came, changed or went, or a real server came into its group or left it.

    `names` are those of all virtual servers now, in order; `real_server` is the one that came or
    left.
    """

    time: float
    stage: GroupStage
    virtual_server: VirtualServer
    names: tuple[str, ...]
    real_server: RealServer | None = None


class SettingsEvent(NamedTuple):
    """Other settings hold from now on."""

    time: float
    settings: Settings


class ProbeEvent(NamedTuple):
    """A health probe has ended.  It comes from outside the engine: from whoever takes the results.

    `kind` is icmp, tcp, http or https; `passed` is None for a probe that could not be made;
    `finding` is one line for people ("connect refused"); `seconds` is how long it took.  `became`
    is the health that this result decided, None where it changed nothing yet.
    """

    time: float
    virtual_server: VirtualServer
    real_server: RealServer
    kind: str
    passed: bool | None
    finding: str
    seconds: float
    became: Literal["up", "down"] | None = None


Event = (
    PacketEvent
    | ConnectionEvent
    | SentEvent
    | ServerEvent
    | VirtualServerEvent
    | SettingsEvent
    | ProbeEvent
)
