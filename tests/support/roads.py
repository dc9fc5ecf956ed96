"""A switch each of whose packets takes the readable road."""

from __future__ import annotations

from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Verdict


class ReadableSwitch(Switch):
    """Takes the readable road even with packets that could take the short one."""

    def handle_packet(
        self,
        buffer: bytearray,
        start: int,
        length: int,
        now: float,
        partial: bool = False,
        readable: bool = True,
    ) -> Verdict:
        return super().handle_packet(buffer, start, length, now, partial, readable=True)


def ignore(_event: object) -> None:
    """Listen, so that every packet is told of."""
