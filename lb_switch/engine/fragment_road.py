"""The road of fragments: the first one decides, the others follow it.

What is remembered, held and refused stands in `connections.fragments`; here is what
becomes of each fragment's packet.
"""

from __future__ import annotations

from collections.abc import Callable

from lb_switch.engine.connections.fragments import (
    Datagram,
    Fate,
    FragmentTracker,
    HeldTooMuchError,
    RefusedError,
)
from lb_switch.engine.nat import identification
from lb_switch.engine.nat.rewrite import rewrite_addresses
from lb_switch.engine.outcome import FRAGMENT, NOT_FOR_THE_SWITCH, Outcome, drop
from lb_switch.engine.packet.parse import Packet, parse
from lb_switch.engine.verdict import Action, Reason


class FragmentRoad:
    """Decide on fragments.

    `decide_first(packet, now, explained)` decides on a first fragment like on a whole packet;
    `may_concern(packet)` says whether a fragment may be part of a connection.
    """

    def __init__(
        self,
        tracker: FragmentTracker,
        decide_first: Callable[[Packet, float, bool], Outcome],
        may_concern: Callable[[Packet], bool],
    ) -> None:
        self.tracker = tracker
        self._decide_first = decide_first
        self._may_concern = may_concern

    def take(self, packet: Packet, now: float, explained: bool) -> tuple[Outcome, list[Outcome]]:
        """Decide on a fragment; return also what became of those that waited for it."""
        if self.tracker.find(packet) is None and not self._may_concern(packet):
            return NOT_FOR_THE_SWITCH, []
        try:
            datagram = self.tracker.note(packet, now)
        except RefusedError:
            return drop(Reason.FRAGMENT_REFUSED), []
        waited: list[Outcome] = []
        if not packet.later_fragment:
            outcome, waited = self._first(packet, datagram, now, explained)
        elif datagram.fate is None:
            try:
                self.tracker.hold(packet, datagram)
            except HeldTooMuchError:
                return drop(Reason.FRAGMENT_LIMIT), []
            return drop(Reason.FRAGMENT_HELD), []
        else:
            outcome = self._follow(packet, datagram.fate, now)
        self.tracker.forget_if_complete(datagram)
        return outcome, waited

    def _first(
        self, packet: Packet, datagram: Datagram, now: float, explained: bool
    ) -> tuple[Outcome, list[Outcome]]:
        outcome = self._decide_first(packet, now, explained)
        verdict = outcome.verdict
        action = Action.DROP if verdict.action is Action.REPLY else verdict.action
        fate = Fate(action, outcome.connection, outcome.direction, identification.get(packet))
        waited = []
        released = []
        for held in self.tracker.decide(datagram, fate):
            buffer = bytearray(held)
            follower = self._follow(parse(buffer, 0, len(buffer)), fate, now)
            waited.append(follower)
            if follower.verdict.action is not Action.DROP:
                released.append(bytes(buffer))
        if released:
            verdict = verdict._replace(packets=(*verdict.packets, *released))
        return outcome._replace(verdict=verdict), waited

    def _follow(self, packet: Packet, fate: Fate, now: float) -> Outcome:
        """Do with a later fragment what was done with the first."""
        connection, direction = fate.connection, fate.direction
        if fate.action is Action.FORWARD:
            assert connection is not None
            assert direction is not None
            connection.count(direction, packet.end - packet.start, now)
            rewrite_addresses(packet, connection.translation(direction))
            identification.put(packet, fate.identification)
            return Outcome(FRAGMENT, connection=connection, direction=direction)
        if fate.action is Action.PASS:
            return NOT_FOR_THE_SWITCH
        return drop(Reason.FRAGMENT_OF_DROPPED)
