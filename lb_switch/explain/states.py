"""The TCP states of a connection, told and drawn from the one table that the switch uses."""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.engine.connections.tcp_state import (
    DEFAULT_TIMEOUTS,
    TABLE,
    Direction,
    Segment,
    State,
)
from lb_switch.explain.style import Style

_WHO = {Direction.ORIGINAL: "client", Direction.REPLY: "real server"}
_TCP = [state for state in State if state is not State.UDP]


def transitions() -> dict[tuple[State, State], list[str]]:
    """Return what leads from one state to another: `client FIN` and so on.

    A segment that does the same from either side is named once, as `any RST`.
    """
    found: dict[tuple[State, State], list[str]] = {}
    for state in _TCP:
        for segment in Segment:
            after = {side: TABLE[side, segment][state] for side in Direction}
            if after[Direction.ORIGINAL] is after[Direction.REPLY]:
                triggers = {"any": after[Direction.ORIGINAL]}
            else:
                triggers = {_WHO[side]: new for side, new in after.items()}
            for who, new in triggers.items():
                if new is not state:
                    found.setdefault((state, new), []).append(f"{who} {segment.name}")
    return found


def text(style: Style) -> Iterator[str]:
    """Yield the table for people, at most 80 columns wide."""
    to = style.glyphs.to
    yield "The states of a connection, as the switch in the middle sees them."
    yield ""
    yield f"  (new)        client SYN {to} {State.SYN_RECV.name}"
    for state in _TCP:
        leads = [
            f"{' or '.join(triggers)} {to} {new.name}"
            for (old, new), triggers in transitions().items()
            if old is state
        ]
        timeout = f"forgotten after {DEFAULT_TIMEOUTS[state]:g} s of silence"
        first, *others = [*leads, timeout]
        yield f"  {style.paint('bold', f'{state.name:<12}')} {first}"
        for line in others:
            yield f"  {'':<12} {line}"
    yield ""
    yield "A client's ACK counts only if it acknowledges the real server's SYN, and in"
    yield "LAST_ACK its FIN.  A FIN or a RST counts only if its receiver takes it: its"
    yield "number is exactly what that side acknowledged last, or is acknowledged later."
    yield "A SYN on an entry in TIME_WAIT or CLOSE begins a new connection."


def mermaid() -> Iterator[str]:
    """Yield a Mermaid state diagram (https://mermaid.js.org/syntax/stateDiagram.html)."""
    yield "stateDiagram-v2"
    yield f"    [*] --> {State.SYN_RECV.name}: client SYN"
    for (old, new), triggers in transitions().items():
        yield f"    {old.name} --> {new.name}: {', '.join(triggers)}"
    for state in _TCP:
        yield f"    {state.name} --> [*]: {DEFAULT_TIMEOUTS[state]:g} s"
