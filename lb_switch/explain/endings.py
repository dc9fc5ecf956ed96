"""How connections end: why one left the table, and whose packet that was which ended it."""

from __future__ import annotations

from lb_switch.engine.events import Cause
from lb_switch.explain.describe import Summary
from lb_switch.stream.schema import (
    ConnectionEntry,
    ConnectionRecord,
    Header,
    PacketRecord,
    RealServerEntry,
    Record,
    ServerRecord,
)
from lb_switch.words import english as words

OUT_OF_SERVICE = Cause.OUT_OF_SERVICE.value
"""Why the switch removed a connection: what its real server is then, tells the real reason."""


class Endings:
    """Learns from each record, in order.  Keeps who is alive, and what changed at this moment."""

    def __init__(self, header: Header) -> None:
        self._servers = {
            (group.name, server.address): (server, "", "")
            for group in header.virtual_servers
            for server in group.real_servers
        }
        """Real servers as they were last told, and why they are so."""
        self._alive: dict[tuple[str | None, str], set[int]] = {}
        self._changed: dict[frozenset[str], ConnectionEntry] = {}
        """Connections that ended, or changed, at `_time`."""
        self._time = 0.0

    def learn(self, record: Record) -> None:
        """Note who is alive, and how the real servers are."""
        if isinstance(record, ServerRecord):
            server = record.real_server
            news = (server, record.changed, record.finding)
            self._servers[record.virtual_server, server.address] = news
        elif isinstance(record, ConnectionRecord):
            connection = record.connection
            place = record.virtual_server, connection.real
            if record.stage != "closed":
                self._alive.setdefault(place, set()).add(connection.number)
            else:
                self._alive.get(place, set()).discard(connection.number)
            if record.time != self._time:
                self._time, self._changed = record.time, {}
            for ends in (
                {connection.client, connection.virtual},
                {connection.source, connection.real},
            ):
                self._changed[frozenset(ends)] = connection

    def connection_of(self, record: PacketRecord, summary: Summary) -> ConnectionEntry | None:
        """Return the connection of a packet.

        Also the one that this very packet found and ended: it is no longer its connection.
        """
        if record.connection is not None or record.time != self._time:
            return record.connection
        return self._changed.get(frozenset(summary[:2]))

    def news(self, record: ServerRecord) -> str:
        """Say in a phrase what is new of a real server that has connections; "" if nothing is.

        To be asked before the record is learnt.
        """
        server = record.real_server
        place = record.virtual_server, server.address
        if not self._alive.get(place):
            return ""
        known = self._servers.get(place)
        if known is not None:
            before = known[0]
            if (before.healthy, before.state) == (server.healthy, server.state):
                return ""
        return _condition(server, record.changed, record.finding)

    def why(self, record: ConnectionRecord, name: str) -> str:
        """Say why a connection left the table.  name: what its real server is called."""
        if record.cause == Cause.TIMEOUT.value:
            return f"timeout in {record.state}"
        fault = self.fault(record, name) if record.cause == OUT_OF_SERVICE else ""
        return fault or words.cause(record.cause or "")

    def fault(self, record: ConnectionRecord, name: str) -> str:
        """Say what is wrong with the real server of a connection; "" if nothing is."""
        known = self._servers.get((record.virtual_server or "", record.connection.real))
        if known is None or (known[0].healthy and known[0].state == "ready"):
            return ""
        return f"{name} {_condition(*known)}"


def _condition(server: RealServerEntry, changed: str, finding: str) -> str:
    """Continue a sentence that begins with the real server's name."""
    if changed == "state" or (server.healthy and server.state != "ready"):
        return f"is set to {server.state}"
    health = "up" if server.healthy else "down"
    return f"is {health}: {finding}" if finding else f"is {health}"
