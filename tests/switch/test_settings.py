"""Settings that change while connections live."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lb_switch.engine.changes import ChangeSettings
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.switch import Settings
from lb_switch.engine.verdict import Reason
from tests.support.dialogue import Dialogue, make_switch


def timeouts(**seconds: float) -> Settings:
    settings = Settings()
    changed = {State[name.upper()]: value for name, value in seconds.items()}
    return replace(settings, timeouts=settings.timeouts | changed)


def test_a_shorter_timeout_ends_the_connections_there_are_in_a_minute_or_so() -> None:
    switch = make_switch()
    dialogue = Dialogue(switch)
    dialogue.handshake()
    dialogue.wait(10)
    switch.change(ChangeSettings(timeouts(established=5)), 0.0)
    dialogue.wait(65)
    assert len(switch.connections) == 0
    check_invariants(switch)


def test_a_longer_timeout_keeps_the_connections_there_are() -> None:
    switch = make_switch()
    dialogue = Dialogue(switch)
    dialogue.handshake()
    switch.change(ChangeSettings(timeouts(established=5000)), 0.0)
    dialogue.wait(4900)
    assert len(switch.connections) == 1
    dialogue.wait(200)
    assert len(switch.connections) == 0


def test_a_larger_table_takes_more_at_once() -> None:
    switch = make_switch(settings=Settings(max_connections=1))
    proved = Dialogue(switch)
    proved.handshake()
    proved.client("PA", b"question")
    proved.server("PA", b"answer")
    newcomer = Dialogue(switch, ("10.0.1.12", 1))
    assert newcomer.client("S").reason is Reason.TABLE_FULL
    switch.change(ChangeSettings(Settings(max_connections=2)), 0.0)
    assert newcomer.client("S").reason is Reason.NEW_CONNECTION
    check_invariants(switch)


def test_what_a_stranger_to_the_table_meets() -> None:
    switch = make_switch()
    assert Dialogue(switch).client("A").reason is Reason.UNKNOWN_TCP
    switch.change(ChangeSettings(Settings(unknown_tcp="schedule")), 0.0)
    assert Dialogue(switch).client("A").reason is Reason.NEW_CONNECTION


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings(max_connections=1), "cannot become 1: there are 2 connections"),
        (Settings(max_half_open_per_source=3), "max_half_open_per_source"),
        (Settings(snat_ports=(5000, 6000)), "snat_ports"),
    ],
)
def test_what_cannot_change_changes_nothing(settings: Settings, why: str) -> None:
    switch = make_switch()
    before = switch.settings
    for port in (1, 2):
        Dialogue(switch, ("10.0.1.11", port)).handshake()
    with pytest.raises(ValueError, match=why):
        switch.change(ChangeSettings(settings), 0.0)
    assert switch.settings is before
    check_invariants(switch)
