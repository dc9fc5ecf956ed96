"""Several listeners on one switch: the engine knows a single observer."""

from __future__ import annotations

from collections.abc import Callable

from lb_switch.engine.events import Event
from lb_switch.engine.switch import Switch

Listener = Callable[[Event], None]


class _Several:
    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def __call__(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def attach(switch: Switch, listener: Listener) -> None:
    """Let `listener` hear everything from now on, beside those that do already."""
    present = _present(switch)
    switch.observer = _Several(*present, listener) if present else listener


def detach(switch: Switch, listener: Listener) -> None:
    """Let it hear nothing any more.  Without listeners the engine builds no events."""
    left = [each for each in _present(switch) if each is not listener]
    switch.observer = _Several(*left) if len(left) > 1 else left[0] if left else None


def _present(switch: Switch) -> tuple[Listener, ...]:
    observer = switch.observer
    if observer is None:
        return ()
    return observer.listeners if isinstance(observer, _Several) else (observer,)
