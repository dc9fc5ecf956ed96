"""What a reader of the stream knows: the snapshot, and every event after it.

A picture is kept by whoever reads lines (`record` by `record`), in any process.  After every change
it equals what `show --json` says, but for what no event tells: traffic that goes on, seconds left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lb_switch.stream.schema import (
    CompleteRecord,
    ConnectionEntry,
    ConnectionRecord,
    DroppedRecord,
    Header,
    RealServerEntry,
    Record,
    ServerRecord,
    SettingsEntry,
    SettingsRecord,
    VirtualServerEntry,
    VirtualServerRecord,
)

ACTIVE = frozenset({"SYN_RECV", "ESTABLISHED", "UDP"})
"""States in which a connection counts as active."""


class KnownConnection(NamedTuple):
    """A connection as it was told of last."""

    entry: ConnectionEntry
    state: str
    since: float | None
    """When it was opened; None: it was there before anybody listened."""


class Picture:
    """Begins with a header, and follows the records after it, in order.

    `missed` counts the events that are known to be missing: with any, the picture may be wrong.
    `complete`: the snapshot's end has come.
    """

    def __init__(self, header: Header) -> None:
        self.time = header.time
        self.hosts = dict(header.hosts)
        self.settings: SettingsEntry = header.settings
        self.virtual_servers: dict[str, VirtualServerEntry] = {
            each.name: each for each in header.virtual_servers
        }
        self.connections: dict[int, KnownConnection] = {}
        self.missed = 0
        self.complete = False
        self._names = {_place(each): each.name for each in header.virtual_servers}

    def learn(self, record: Record) -> None:
        """Learn what a record says."""
        if isinstance(record, ConnectionRecord):
            self._connection(record)
        elif isinstance(record, ServerRecord):
            self._server(record)
        elif isinstance(record, VirtualServerRecord):
            self._group(record)
        elif isinstance(record, SettingsRecord):
            self.settings = record.settings
        elif isinstance(record, DroppedRecord):
            self.missed += record.count
            return
        elif isinstance(record, CompleteRecord):
            self.complete = True
        self.time = record.time

    def name_of(self, connection: ConnectionEntry) -> str | None:
        """Return the name of the virtual server that a connection belongs to, as it is now."""
        return self._names.get((connection.protocol, connection.virtual))

    def rows(self) -> list[dict[str, Any]]:
        """Return the virtual servers as rows like those of `show virtual_servers`."""
        return [each.model_dump(mode="json") for each in self.virtual_servers.values()]

    # -- what is told ----------------------------------------------------------------------

    def _connection(self, record: ConnectionRecord) -> None:
        number, known = record.connection.number, self.connections
        before = known.get(number)
        if record.stage == "present":
            known[number] = KnownConnection(record.connection, record.state, None)
            return
        if record.stage == "closed":
            known.pop(number, None)
        else:
            opened = record.time if record.stage == "opened" else before and before.since
            known[number] = KnownConnection(record.connection, record.state, opened)
        self._count(record)

    def _count(self, record: ConnectionRecord) -> None:
        """Let the real server's numbers follow, which the header told when the stream began."""
        name = record.virtual_server or ""
        group = self.virtual_servers.get(name)
        if group is None:
            return
        active = inactive = total = 0
        if record.stage == "opened":
            total = 1
        elif record.old_state in ACTIVE:
            active -= 1
        else:
            inactive -= 1
        if record.stage != "closed":
            if record.state in ACTIVE:
                active += 1
            else:
                inactive += 1
        servers = tuple(
            each.model_copy(
                update={
                    "active": each.active + active,
                    "inactive": each.inactive + inactive,
                    "connections": each.connections + total,
                }
            )
            if each.address == record.connection.real
            else each
            for each in group.real_servers
        )
        self.virtual_servers[name] = group.model_copy(update={"real_servers": servers})

    def _server(self, record: ServerRecord) -> None:
        group = self.virtual_servers.get(record.virtual_server)
        if group is not None:
            servers = tuple(_instead(each, record.real_server) for each in group.real_servers)
            self.virtual_servers[group.name] = group.model_copy(update={"real_servers": servers})

    def _group(self, record: VirtualServerRecord) -> None:
        group = record.virtual_server
        if record.stage == "removed":
            self.virtual_servers.pop(group.name, None)
        else:
            self.virtual_servers[group.name] = group
            self._names[_place(group)] = group.name
        self.virtual_servers = {
            name: self.virtual_servers[name]
            for name in record.names
            if name in self.virtual_servers
        }


def _instead(each: RealServerEntry, other: RealServerEntry) -> RealServerEntry:
    return other if each.address == other.address else each


def _place(group: VirtualServerEntry) -> tuple[str, str]:
    return group.protocol, group.address
