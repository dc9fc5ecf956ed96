"""What can be changed of a running switch, as values: `Switch.change` is the one door for all."""

from __future__ import annotations

from typing import Any, NamedTuple

from lb_switch.engine.servers import (
    AdminState,
    ClientMemory,
    OnDown,
    RealServer,
    Scheduler,
    VirtualServer,
)
from lb_switch.engine.settings import Settings


class AddVirtualServer(NamedTuple):
    """Serve it from now on."""

    virtual_server: VirtualServer


class RemoveVirtualServer(NamedTuple):
    """Take no new connections for it; live ones go on."""

    virtual_server: VirtualServer


class Configure(NamedTuple):
    """Give a virtual server another scheduler, or other options."""

    virtual_server: VirtualServer
    name: str
    """It must be free, and can change only while the virtual server is not served."""
    scheduler: Scheduler
    on_down: OnDown
    persistence: ClientMemory[Any] | None


class AddRealServer(NamedTuple):
    """Put a real server into a group.

    One that was removed while it had connections comes back as the same object
    (`VirtualServer.add`).
    """

    virtual_server: VirtualServer
    real_server: RealServer


class RemoveRealServer(NamedTuple):
    """Take a real server out of its group; live connections go on."""

    virtual_server: VirtualServer
    real_server: RealServer


class EndConnections(NamedTuple):
    """Let the connections of a real server that was removed end as if it were down."""

    virtual_server: VirtualServer
    real_server: RealServer


class OrderRealServers(NamedTuple):
    """Bring the real servers of a group into this order."""

    virtual_server: VirtualServer
    real_servers: tuple[RealServer, ...]


class OrderVirtualServers(NamedTuple):
    """Bring the virtual servers into this order; all their names."""

    names: tuple[str, ...]


class SetHealth(NamedTuple):
    """Take what a health check found.  From now on no new connection goes to a failed one."""

    real_server: RealServer
    healthy: bool
    finding: str


class SetAdminState(NamedTuple):
    """Do what the operator wants of a real server."""

    real_server: RealServer
    state: AdminState


class SetWeight(NamedTuple):
    """Give a real server another share of new connections; 0 drains it."""

    real_server: RealServer
    weight: int


class ChangeSettings(NamedTuple):
    """Take other settings; connections stay.

    A shorter timeout also holds for the connections there are, but each is looked at when its
    bucket of the timer wheel comes due: 64 seconds after the change at the latest.
    """

    settings: Settings


Change = (
    AddVirtualServer
    | RemoveVirtualServer
    | Configure
    | AddRealServer
    | RemoveRealServer
    | EndConnections
    | OrderRealServers
    | OrderVirtualServers
    | SetHealth
    | SetAdminState
    | SetWeight
    | ChangeSettings
)
