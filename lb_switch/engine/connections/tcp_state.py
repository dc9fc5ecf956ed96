"""The TCP states of a connection as a NAT in the middle sees them: one table.

The switch sees both directions but is neither end, so its states follow the packets it has seen
pass (RFC 9293, section 3.3.2, seen from the side; names and timeouts are those of IPVS).

The rules
---------
* A client's SYN makes the entry, in SYN_RECV.  A SYN that comes again changes nothing.
* SYN_RECV is left by an ACK of the client (or a FIN with one), but only if it acknowledges the
  real server's SYN: otherwise a flood of forged pairs of SYN and ACK would look established.  A
  FIN of the real server's that comes before (with early data) counts after it.
* The first FIN says who closes first: the client (CLOSE_WAIT: the real server still sends) or the
  real server (FIN_WAIT: the client still sends).  Half-closed connections may last.
* The other side's FIN ends it: after CLOSE_WAIT comes LAST_ACK, and the client's ACK closes;
  after FIN_WAIT comes TIME_WAIT.  When both FINs cross (simultaneous close) the first to pass
  the switch counts as first.  A lost last ACK leaves LAST_ACK as it is: the real server repeats
  its FIN, the client its ACK.  FINs that come late change nothing.
* A RST closes, from every state.
* Whether a FIN or a RST counts is decided before (`tcp_tracking`).  One that
  proves to have been none is taken back: `WITHOUT_FIN`.
* A SYN in TIME_WAIT or CLOSE is a new connection on the same ports: not in this table, because it
  replaces the entry.  A SYN inside a live connection changes nothing: the real server answers a
  stray one with a challenge ACK (RFC 5961, section 4).  If it takes the SYN instead, a new
  connection begins on the same ports; if it refuses it, this one is closed.
"""

from __future__ import annotations

import enum

from lb_switch.engine.packet import tcp


class State(enum.IntEnum):
    """The state of a connection.  UDP conversations have a single one."""

    SYN_RECV = 0
    ESTABLISHED = 1
    FIN_WAIT = 2
    CLOSE_WAIT = 3
    LAST_ACK = 4
    TIME_WAIT = 5
    CLOSE = 6
    UDP = 7


class Direction(enum.IntEnum):
    """Which way a packet goes."""

    ORIGINAL = 0
    """From the client to the real server."""
    REPLY = 1
    """From the real server to the client."""


class Segment(enum.IntEnum):
    """What a segment means to the table."""

    SYN = 0
    ACK = 1
    """Neither SYN, FIN nor RST."""
    FIN = 2
    RST = 3


_SR = State.SYN_RECV
_ES = State.ESTABLISHED
_FW = State.FIN_WAIT
_CW = State.CLOSE_WAIT
_LA = State.LAST_ACK
_TW = State.TIME_WAIT
_CL = State.CLOSE

TABLE: dict[tuple[Direction, Segment], tuple[State, ...]] = {
    # in state:                            SR   ES   FW   CW   LA   TW   CL
    (Direction.ORIGINAL, Segment.SYN): (_SR, _ES, _FW, _CW, _LA, _TW, _CL),
    (Direction.ORIGINAL, Segment.ACK): (_ES, _ES, _FW, _CW, _CL, _TW, _CL),
    (Direction.ORIGINAL, Segment.FIN): (_CW, _CW, _TW, _CW, _LA, _TW, _CL),
    (Direction.ORIGINAL, Segment.RST): (_CL, _CL, _CL, _CL, _CL, _CL, _CL),
    (Direction.REPLY, Segment.SYN): (_SR, _ES, _FW, _CW, _LA, _TW, _CL),
    (Direction.REPLY, Segment.ACK): (_SR, _ES, _FW, _CW, _LA, _TW, _CL),
    (Direction.REPLY, Segment.FIN): (_SR, _FW, _FW, _LA, _LA, _TW, _CL),
    (Direction.REPLY, Segment.RST): (_CL, _CL, _CL, _CL, _CL, _CL, _CL),
}

ACTIVE = frozenset({State.SYN_RECV, State.ESTABLISHED, State.UDP})
"""Until the first FIN or RST.  (IPVS calls SYN_RECV inactive; counting it as active keeps least
connection from sending a whole burst of SYNs to one server.)"""

REUSABLE = frozenset({State.TIME_WAIT, State.CLOSE})
"""A SYN on an entry in one of these is a new connection."""

WITHOUT_FIN: dict[tuple[Direction, State], State] = {
    (Direction.ORIGINAL, _CW): _ES,
    (Direction.REPLY, _FW): _ES,
    (Direction.ORIGINAL, _LA): _FW,
    (Direction.REPLY, _LA): _CW,
    (Direction.ORIGINAL, _TW): _FW,
    (Direction.REPLY, _TW): _CW,
}
"""The way back, where the FIN of this direction turns out to have been none."""

DEFAULT_TIMEOUTS: dict[State, float] = {
    State.SYN_RECV: 60.0,
    State.ESTABLISHED: 900.0,
    State.FIN_WAIT: 120.0,
    State.CLOSE_WAIT: 60.0,
    State.LAST_ACK: 30.0,
    State.TIME_WAIT: 120.0,
    State.CLOSE: 10.0,
    State.UDP: 300.0,
}
"""Seconds without a packet until an entry in this state is removed (the defaults of IPVS)."""


def event_of(flags: int) -> Segment:
    """Classify a segment by its flags.  RST outweighs SYN, and SYN outweighs FIN."""
    if flags & tcp.RST:
        return Segment.RST
    if flags & tcp.SYN:
        return Segment.SYN
    if flags & tcp.FIN:
        return Segment.FIN
    return Segment.ACK
