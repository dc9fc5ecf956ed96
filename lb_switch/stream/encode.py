"""From the engine's events to the lines of a recording.  Runs in the datapath: cheap and pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import Direction, State
from lb_switch.engine.events import (
    Cause,
    ConnectionEvent,
    ConnectionStage,
    Event,
    PacketEvent,
    ProbeEvent,
    SentEvent,
    ServerEvent,
    SettingsEvent,
    VirtualServerEvent,
)
from lb_switch.engine.listeners import WHOLE
from lb_switch.engine.outcome import Choice
from lb_switch.engine.packet.flow_key import destination_endpoint, source_endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.settings import Settings
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason
from lb_switch.stream.schema import FORMAT, SNAP, VERSION
from lb_switch.stream.wires import Routed, on_the_wires

Object = dict[str, Any]

MOST_SENT = 4
"""Of the packets that a verdict sends besides, so many are told, unless packets are kept whole."""

_CONNECTIONS_KEPT = 8192
"""Connections whose text is kept ready."""

_to_text = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Encoder:
    """Turns events into lines.

    `number_of` gives a connection the number by which all listeners know it.  `routed` lets packets
    be told as they stood on the wires; without it as the engine saw them.  `keep` is how many bytes
    of a packet are told.
    """

    def __init__(
        self,
        number_of: Callable[[Connection], int],
        routed: Routed | None = None,
        keep: int = SNAP,
    ) -> None:
        self._number_of = number_of
        self._routed = routed
        self._keep = keep
        self._connections: dict[int, str] = {}
        self._names: dict[str, str] = {}
        """Names of virtual servers as JSON has them."""
        self.packets = 0
        """How many packets were told of."""

    def header(self, switch: Switch, hosts: Mapping[str, str], now: float) -> bytes:
        """Return the first line.  `hosts` are the machines' names by address."""
        return _line(
            {
                "format": FORMAT,
                "version": VERSION,
                "time": now,
                "snap": self._keep,
                "hosts": dict(hosts),
                "settings": _settings(switch.settings),
                "virtual_servers": [_virtual_server(vs) for vs in switch.virtual_servers.values()],
            }
        )

    def encode(self, event: Event) -> bytes:
        """Return the line of an event."""
        if isinstance(event, PacketEvent):
            return self._packet(event)
        if isinstance(event, ConnectionEvent):
            return self._connection_event(event)
        if isinstance(event, SentEvent):
            return self._sent(event)
        if isinstance(event, ServerEvent):
            return _line(_server(event))
        if isinstance(event, VirtualServerEvent):
            return _line(_group(event))
        if isinstance(event, SettingsEvent):
            settings = _settings(event.settings)
            return _line({"event": "settings", "time": event.time, "settings": settings})
        return _line(_probe(event))

    def present(self, connection: Connection, now: float) -> bytes:
        """Return the line of a connection that was there before anybody listened."""
        return self._connection_line(connection, now, "present", None, connection.state, None)

    def _packet(self, event: PacketEvent) -> bytes:
        # One line for every packet, in the packet's own process: put together by hand, since a
        # dictionary and its encoding take three times as long.
        self.packets += 1
        action, reason, packets = event.verdict
        keep, before, after = self._keep, event.before, event.after
        if self._routed is not None:
            before, after, packets = on_the_wires(event, self._routed())
        connection, direction = event.connection, event.direction
        old_state, state, timeout = event.old_state, event.state, event.timeout
        group = event.virtual_server
        choice = _choice(event)
        told = packets if keep >= WHOLE else packets[:MOST_SENT]
        sent = [{"length": len(packet), "data": packet[:keep].hex()} for packet in told]
        kept = after[:keep]
        if keep > SNAP and before[SNAP:keep] == after[SNAP:keep]:
            kept = after[:SNAP]  # translated headers; bulk traffic would be told twice
        return (
            f'{{"event":"packet","time":{event.time!r},"number":{event.number}'
            f',"verdict":"{action._value_}","reason":"{reason._value_}"'
            f',"virtual_server":{"null" if group is None else self._name(group.name)}'
            f',"direction":{"null" if direction is None else _DIRECTIONS[direction]}'
            f',"old_state":{"null" if old_state is None else _STATES[old_state]}'
            f',"state":{"null" if state is None else _STATES[state]}'
            f',"timeout":{"null" if timeout is None else repr(timeout)}'
            f',"connection":{"null" if connection is None else self._connection(connection)}'
            f',"choice":{"null" if choice is None else _to_text(choice)}'
            f',"partial":{"true" if event.partial else "false"},"length":{event.length}'
            f',"before":"{before[:keep].hex()}"'
            f',"after":{"null" if before == after else _quoted(kept.hex())}'
            f',"sent":{_to_text(sent) if sent else "[]"},"sent_count":{len(packets)}}}\n'
        ).encode()

    def _connection_event(self, event: ConnectionEvent) -> bytes:
        connection, cause = event.connection, event.cause
        line = self._connection_line(
            connection, event.time, event.stage.value, event.old_state, event.state, cause
        )
        if event.stage is ConnectionStage.CLOSED:
            self._connections.pop(connection.number, None)
        return line

    def _connection_line(
        self,
        connection: Connection,
        time: float,
        stage: str,
        old_state: State | None,
        state: State,
        cause: Cause | None,
    ) -> bytes:
        group = connection.real_server.virtual_server
        there, back = connection.traffic_to_server, connection.traffic_to_client
        return (
            f'{{"event":"connection","time":{time!r},"stage":"{stage}"'
            f',"virtual_server":{"null" if group is None else self._name(group.name)}'
            f',"connection":{self._connection(connection)}'
            f',"old_state":{"null" if old_state is None else _STATES[old_state]}'
            f',"state":{_STATES[state]}'
            f',"cause":{"null" if cause is None else _quoted(cause.value)}'
            f',"to_server":{{"packets":{there.packets},"bytes":{there.bytes}}}'
            f',"to_client":{{"packets":{back.packets},"bytes":{back.bytes}}}}}\n'
        ).encode()

    def _sent(self, event: SentEvent) -> bytes:
        group = event.virtual_server
        return (
            f'{{"event":"sent","time":{event.time!r}'
            f',"virtual_server":{"null" if group is None else self._name(group.name)}'
            f',"connection":{self._connection(event.connection)}'
            f',"direction":{_DIRECTIONS[event.direction]}'
            f',"length":{len(event.packet)},"data":"{event.packet[: self._keep].hex()}"}}\n'
        ).encode()

    def _connection(self, connection: Connection) -> str:
        number = self._number_of(connection)
        text = self._connections.get(number)
        if text is None:
            if len(self._connections) >= _CONNECTIONS_KEPT:
                self._connections.clear()
            text = self._connections[number] = _to_text(
                {
                    "number": number,
                    "protocol": PROTOCOL_NAMES[connection.protocol],
                    "client": str(source_endpoint(connection.original_key)),
                    "virtual": str(destination_endpoint(connection.original_key)),
                    "source": str(destination_endpoint(connection.reply_key)),
                    "real": str(connection.real_server.endpoint),
                }
            )
        return text

    def _name(self, name: str) -> str:
        text = self._names.get(name)
        if text is None:
            text = self._names[name] = _to_text(name)
        return text


def _quoted(text: str) -> str:
    return f'"{text}"'


_STATES = {state: f'"{state.name}"' for state in State}
_DIRECTIONS = {direction: f'"{direction.name.lower()}"' for direction in Direction}


def dropped(count: int) -> bytes:
    """Return the line that says how many events are missing."""
    return _line({"event": "dropped", "count": count})


def losses(now: float, capture: str, counts: Mapping[str, int]) -> bytes:
    """Return the line that says what a capture has lost so far."""
    return _line({"event": "losses", "time": now, "capture": capture, "counts": dict(counts)})


def host(now: float, what: str, lines: Sequence[str]) -> bytes:
    """Return the line that says what has become of the switch's part of the host."""
    return _line({"event": "host", "time": now, "what": what, "lines": list(lines)})


def complete(now: float, connections: int) -> bytes:
    """Return the line that says that the table has been told."""
    return _line({"event": "complete", "time": now, "connections": connections})


def end(now: float, packets: int, missing: int) -> bytes:
    """Return the last line."""
    return _line({"event": "end", "time": now, "packets": packets, "dropped": missing})


def _line(value: Object) -> bytes:
    return _to_text(value).encode() + b"\n"


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
            "rule": None,
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
        "rule": None if explanation is None else explanation.rule.value,
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


def _settings(settings: Settings) -> Object:
    return {
        "max_connections": settings.max_connections,
        "max_half_open_per_source": settings.max_half_open_per_source,
        "unknown_tcp": settings.unknown_tcp,
        "answers_per_second": settings.answers_per_second._asdict(),
        "timeouts": {state.name: seconds for state, seconds in settings.timeouts.items()},
    }


def _virtual_server(virtual_server: VirtualServer) -> Object:
    persistence = virtual_server.persistence
    return {
        "name": virtual_server.name,
        "address": str(virtual_server.endpoint),
        "protocol": PROTOCOL_NAMES[virtual_server.protocol],
        "scheduler": virtual_server.scheduler.name,
        "forward": virtual_server.forward,
        "on_down": virtual_server.on_down,
        "persistence_timeout": 0.0 if persistence is None else persistence.timeout,
        "persistence_prefix": 0 if persistence is None else persistence.prefix_length,
        "one_packet": virtual_server.one_packet,
        "real_servers": [_real_server(each) for each in virtual_server.real_servers],
    }


def _real_server(real_server: RealServer) -> Object:
    return {
        "address": str(real_server.endpoint),
        "weight": real_server.weight,
        "state": real_server.admin_state.value,
        "healthy": real_server.healthy,
        "active": real_server.active,
        "inactive": real_server.inactive,
        "connections": real_server.connections_total,
    }


def _server(event: ServerEvent) -> Object:
    return {
        "event": "server",
        "time": event.time,
        "virtual_server": event.virtual_server.name,
        "real_server": _real_server(event.real_server),
        "changed": event.changed.value,
        "finding": event.finding,
    }


def _group(event: VirtualServerEvent) -> Object:
    real_server = event.real_server
    return {
        "event": "virtual_server",
        "time": event.time,
        "stage": event.stage.value,
        "virtual_server": _virtual_server(event.virtual_server),
        "real_server": None if real_server is None else str(real_server.endpoint),
        "names": list(event.names),
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
