"""What comes of a packet inside the engine: a verdict, and whom it is about."""

from __future__ import annotations

from typing import NamedTuple

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import Direction, State
from lb_switch.engine.servers import Explanation, RealServer, Rule, VirtualServer
from lb_switch.engine.verdict import Action, Reason, Verdict


class Choice(NamedTuple):
    """Why this real server got the new connection.

    `explanation` is the scheduler's, taken just before it chose; None where persistence decided.
    `candidates` were usable, `passed_over` are the group's others (down, drained, weight 0).
    """

    real_server: RealServer
    explanation: Explanation | None
    candidates: tuple[RealServer, ...]
    passed_over: tuple[RealServer, ...]

    def instead(self, another: RealServer, trouble: str) -> Choice:
        """Return the choice of another one, because of a trouble with this one."""
        facts = {"instead_of": str(self.real_server.endpoint), "trouble": trouble}
        explanation = Explanation(another, Rule.NEXT_INSTEAD, facts)
        return self._replace(real_server=another, explanation=explanation)


class Outcome(NamedTuple):
    """A verdict and whom it is about."""

    verdict: Verdict
    virtual_server: VirtualServer | None = None
    connection: Connection | None = None
    direction: Direction | None = None
    old_state: State | None = None
    """The connection's state before the packet; None where it opened one."""
    choice: Choice | None = None
    """Why a new connection goes where it goes; only where an explanation was asked for."""


# Verdicts without packets are made once.
KNOWN = Verdict(Action.FORWARD, Reason.KNOWN_CONNECTION)
NEW = Verdict(Action.FORWARD, Reason.NEW_CONNECTION)
RESCHEDULED = Verdict(Action.FORWARD, Reason.RESCHEDULED)
PORT_REUSE = Verdict(Action.FORWARD, Reason.PORT_REUSE)
RST_OUT_OF_WINDOW = Verdict(Action.FORWARD, Reason.RST_OUT_OF_WINDOW)
ONE_PACKET = Verdict(Action.FORWARD, Reason.ONE_PACKET)
FRAGMENT = Verdict(Action.FORWARD, Reason.FRAGMENT)
ICMP_ERROR = Verdict(Action.FORWARD, Reason.ICMP_ERROR)
UDP_ZERO = Verdict(Action.DROP, Reason.UDP_ZERO_CHECKSUM)

NOT_FOR_THE_SWITCH = Outcome(Verdict(Action.PASS, Reason.NOT_FOR_THE_SWITCH))


def drop(reason: Reason, virtual_server: VirtualServer | None = None) -> Outcome:
    """Return the outcome of a packet that ends here."""
    return Outcome(Verdict(Action.DROP, reason), virtual_server)
