"""A packet's story in one line: the comment of its copies.  Pure."""

from __future__ import annotations

from lb_switch.stream.schema import PacketRecord, SentRecord
from lb_switch.words import english as words


def one_line(packet: PacketRecord, vip: str = "") -> str:
    """Return verdict, reason, who with whom, why this real server, and the state.

    `vip` is the address and port of its virtual server.

    forward new_connection: 10.0.1.11:40000 to web 10.0.1.100:80 → 10.0.2.11:8080
    (next after 10.0.2.13:8080); SYN_RECV (60 s)
    """
    line = f"{packet.verdict} {packet.reason}"
    whom = _whom(packet, vip)
    if whom:
        line = f"{line}: {whom}"
    state = _state(packet)
    return f"{line}; {state}" if state else line


def line_of_sent(sent: SentRecord) -> str:
    """Return whose connection it is about that the switch sent something of its own accord."""
    ends = sent.connection
    return f"sent by the switch: {ends.client} with {ends.real}, which is out of service"


def _whom(packet: PacketRecord, vip: str) -> str:
    ends = packet.connection
    group = "" if packet.virtual_server is None else f"{packet.virtual_server} {vip}"
    if ends is None:
        return group
    if packet.direction == "reply":
        return f"{ends.real} → {group} to {ends.client}"
    return f"{ends.client} to {group} → {ends.real}{_why(packet)}"


def _why(packet: PacketRecord) -> str:
    choice = packet.choice
    if choice is None:
        return ""
    said = "the client had it before"
    if choice.rule is not None:
        said = words.choice(choice.rule, choice.facts, choice.real_server or "")
    return f" ({said})"


def _state(packet: PacketRecord) -> str:
    if packet.state is None:
        return ""
    text = packet.state
    if packet.old_state not in {None, text}:
        text = f"{packet.old_state} → {text}"
    return text if packet.timeout is None else f"{text} ({packet.timeout:g} s)"
