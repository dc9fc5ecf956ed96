"""A packet's story in one line: the comment of its copies.  Pure."""

from __future__ import annotations

from lb_switch.engine.connections.tcp_state import Direction
from lb_switch.engine.events import PacketEvent, SentEvent
from lb_switch.engine.packet.flow_key import source_endpoint
from lb_switch.words import english as words


def one_line(event: PacketEvent) -> str:
    """Return verdict, reason, who with whom, why this real server, and the state.

    forward new_connection: 10.0.1.11:40000 to web 10.0.1.100:80 → 10.0.2.11:8080
    (next after 10.0.2.13:8080); SYN_RECV (60 s)
    """
    verdict = event.verdict
    line = f"{verdict.action.value} {verdict.reason.value}"
    whom = _whom(event)
    if whom:
        line = f"{line}: {whom}"
    state = _state(event)
    return f"{line}; {state}" if state else line


def line_of_sent(event: SentEvent) -> str:
    """Return whose connection it is about that the switch sent something of its own accord."""
    client = source_endpoint(event.connection.original_key)
    server = event.connection.real_server.endpoint
    return f"sent by the switch: {client} with {server}, which is out of service"


def _whom(event: PacketEvent) -> str:
    virtual_server, connection = event.virtual_server, event.connection
    group = f"{virtual_server.name} {virtual_server.endpoint}" if virtual_server else ""
    if connection is None:
        return group
    client = source_endpoint(connection.original_key)
    server = connection.real_server.endpoint
    if event.direction is Direction.REPLY:
        return f"{server} → {group} to {client}"
    why = ""
    if event.choice is not None:
        explanation = event.choice.explanation
        chosen = str(event.choice.real_server.endpoint)
        said = "the client had it before"
        if explanation is not None:
            said = words.choice(explanation.rule.value, explanation.facts, chosen)
        why = f" ({said})"
    return f"{client} to {group} → {server}{why}"


def _state(event: PacketEvent) -> str:
    if event.state is None:
        return ""
    text = event.state.name
    if event.old_state is not None and event.old_state is not event.state:
        text = f"{event.old_state.name} → {text}"
    return text if event.timeout is None else f"{text} ({event.timeout:g} s)"
