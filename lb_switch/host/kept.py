"""What is to be looked after on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lb_switch.host.steps import Step
from lb_switch.host.view import HostView

Planner = Callable[[HostView], Sequence[Step]]
"""What makes a plan of a view of the host.  Raises HostError."""


class Kept(NamedTuple):
    """The steps that were taken, and how they follow from the host.

    `without`: the device of the switch's own, of which the view says nothing.
    """

    steps: tuple[Step, ...]
    planner: Planner
    without: str = ""
