"""From the engine's events to the lines of a recording.  Runs in the datapath: cheap and pure."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.events import (
    ConnectionEvent,
    Event,
    PacketEvent,
    ProbeEvent,
    SentEvent,
    ServerEvent,
    Stage,
)
from lb_switch.engine.outcome import Choice
from lb_switch.engine.packet.flow_key import destination_endpoint, source_endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.tally import Traffic
from lb_switch.engine.verdict import Reason
from lb_switch.stream.schema import FORMAT, SNAP, VERSION
from lb_switch.stream.wires import Routed, on_the_wires

Object = dict[str, Any]

MOST_SENT = 4
"""Of the packets that a verdict sends besides, so many are told in full."""

ENDED_KEPT = 4096
"""So many ended connections keep their number: fragments may still come of a datagram whose first
one found its connection."""

_to_text = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Encoder:
    """Turns events into lines.  It gives connections their numbers, so one serves all listeners.

    `routed` lets packets be told as they stood on the wires; without it as the engine saw them.
    """

    def __init__(self, routed: Routed | None = None) -> None:
        self._routed = routed
        self._connections: dict[tuple[int, bytes, bytes], Object] = {}
        self._ended: OrderedDict[tuple[int, bytes, bytes], Object] = OrderedDict()
        """The latest to end, in order."""
        self._count = 0
        self.packets = 0
        """How many packets were told of."""

    def header(self, switch: Switch, hosts: Mapping[str, str], now: float) -> bytes:
        """Return the first line.  `hosts` are the machines' names by address."""
        return _line(
            {
                "format": FORMAT,
                "version": VERSION,
                "time": now,
                "snap": SNAP,
                "hosts": dict(hosts),
                "virtual_servers": [_virtual_server(vs) for vs in switch.virtual_servers.values()],
            }
        )

    def encode(self, event: Event) -> bytes:
        """Return the line of an event."""
        if isinstance(event, PacketEvent):
            return _line(self._packet(event))
        if isinstance(event, ConnectionEvent):
            return _line(self._connection_event(event))
        if isinstance(event, SentEvent):
            return _line(self._sent(event))
        return _line(_server(event) if isinstance(event, ServerEvent) else _probe(event))

    def _packet(self, event: PacketEvent) -> Object:
        self.packets += 1
        if self._routed is not None:
            event = on_the_wires(event, self._routed())
        action, reason, packets = event.verdict
        before, after, virtual_server = event.before, event.after, event.virtual_server
        connection, direction = event.connection, event.direction
        old_state, state = event.old_state, event.state
        return {
            "event": "packet",
            "time": event.time,
            "number": event.number,
            "verdict": action.value,
            "reason": reason.value,
            "virtual_server": None if virtual_server is None else virtual_server.name,
            "direction": None if direction is None else direction.name.lower(),
            "old_state": None if old_state is None else old_state.name,
            "state": None if state is None else state.name,
            "timeout": event.timeout,
            "connection": None if connection is None else self._connection(connection),
            "choice": _choice(event),
            "partial": event.partial,
            "length": len(before),
            "before": before[:SNAP].hex(),
            "after": None if before == after else after[:SNAP].hex(),
            "sent": [
                {"length": len(packet), "data": packet[:SNAP].hex()}
                for packet in packets[:MOST_SENT]
            ],
            "sent_count": len(packets),
        }

    def _connection_event(self, event: ConnectionEvent) -> Object:
        connection, old_state = event.connection, event.old_state
        virtual_server = connection.real_server.virtual_server
        ended = event.stage is Stage.CLOSED
        told = self._end_of(connection) if ended else self._connection(connection)
        return {
            "event": "connection",
            "time": event.time,
            "stage": event.stage.value,
            "virtual_server": None if virtual_server is None else virtual_server.name,
            "connection": told,
            "old_state": None if old_state is None else old_state.name,
            "state": event.state.name,
            "cause": event.cause,
            "to_server": _traffic(connection.traffic_to_server),
            "to_client": _traffic(connection.traffic_to_client),
        }

    def _sent(self, event: SentEvent) -> Object:
        virtual_server = event.virtual_server
        return {
            "event": "sent",
            "time": event.time,
            "virtual_server": None if virtual_server is None else virtual_server.name,
            "connection": self._connection(event.connection),
            "direction": event.direction.name.lower(),
            "length": len(event.packet),
            "data": event.packet[:SNAP].hex(),
        }

    def _connection(self, connection: Connection) -> Object:
        key = _key(connection)
        if connection.is_over:
            return self._ended.get(key) or self._numbered(connection)
        told = self._connections.get(key)
        if told is None:
            told = self._connections[key] = self._numbered(connection)
        return told

    def _end_of(self, connection: Connection) -> Object:
        key = _key(connection)
        told = self._connections.pop(key, None) or self._numbered(connection)
        self._ended[key] = told
        self._ended.move_to_end(key)
        if len(self._ended) > ENDED_KEPT:
            self._ended.popitem(last=False)
        return told

    def _numbered(self, connection: Connection) -> Object:
        self._count += 1
        return {
            "number": self._count,
            "protocol": PROTOCOL_NAMES[connection.protocol],
            "client": str(source_endpoint(connection.original_key)),
            "virtual": str(destination_endpoint(connection.original_key)),
            "source": str(destination_endpoint(connection.reply_key)),
            "real": str(connection.real_server.endpoint),
        }


def dropped(count: int) -> bytes:
    """Return the line that says how many events are missing."""
    return _line({"event": "dropped", "count": count})


def end(now: float, packets: int, missing: int) -> bytes:
    """Return the last line."""
    return _line({"event": "end", "time": now, "packets": packets, "dropped": missing})


def _line(value: Object) -> bytes:
    return _to_text(value).encode() + b"\n"


def _key(connection: Connection) -> tuple[int, bytes, bytes]:
    return connection.protocol, connection.original_key, connection.reply_key


def _choice(event: PacketEvent) -> Object | None:
    choice, virtual_server = event.choice, event.virtual_server
    if virtual_server is None:
        return None
    if choice is None:
        if event.verdict.reason is not Reason.NO_REAL_SERVER:
            return None
        return {
            "real_server": None,
            "scheduler": virtual_server.scheduler.name,
            "persistent": False,
            "why": "",
            "facts": {},
            "candidates": [],
            "passed_over": _passed_over(virtual_server.real_servers),
        }
    return _choice_made(choice, virtual_server)


def _choice_made(choice: Choice, virtual_server: VirtualServer) -> Object:
    explanation = choice.explanation
    return {
        "real_server": str(choice.real_server.endpoint),
        "scheduler": virtual_server.scheduler.name,
        "persistent": explanation is None,
        "why": "" if explanation is None else explanation.why,
        "facts": {} if explanation is None else dict(explanation.facts),
        "candidates": [str(each.endpoint) for each in choice.candidates],
        "passed_over": _passed_over(choice.passed_over),
    }


def _passed_over(servers: list[RealServer] | tuple[RealServer, ...]) -> list[Object]:
    return [{"address": str(each.endpoint), "because": _because(each)} for each in servers]


def _because(real_server: RealServer) -> str:
    if not real_server.healthy:
        return "down"
    if real_server.admin_state is AdminState.MAINT:
        return "in maintenance"
    return "drained" if real_server.admin_state is AdminState.DRAIN else "weight 0"


def _traffic(traffic: Traffic) -> Object:
    return {"packets": traffic.packets, "bytes": traffic.bytes}


def _virtual_server(virtual_server: VirtualServer) -> Object:
    return {
        "name": virtual_server.name,
        "address": str(virtual_server.endpoint),
        "protocol": PROTOCOL_NAMES[virtual_server.protocol],
        "scheduler": virtual_server.scheduler.name,
        "forward": virtual_server.forward,
        "real_servers": [_real_server(each) for each in virtual_server.real_servers],
    }


def _real_server(real_server: RealServer) -> Object:
    return {
        "address": str(real_server.endpoint),
        "weight": real_server.weight,
        "state": real_server.admin_state.value,
        "healthy": real_server.healthy,
    }


def _server(event: ServerEvent) -> Object:
    return {
        "event": "server",
        "time": event.time,
        "virtual_server": event.virtual_server.name,
        "real_server": _real_server(event.real_server),
        "cause": event.cause,
    }


def _probe(event: ProbeEvent) -> Object:
    return {
        "event": "probe",
        "time": event.time,
        "virtual_server": event.virtual_server.name,
        "real_server": str(event.real_server.endpoint),
        "kind": event.kind,
        "passed": event.passed,
        "finding": event.finding,
        "seconds": event.seconds,
        "became": event.became,
    }
