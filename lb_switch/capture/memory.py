"""The in-memory twin of a capture: feed packets in, read what came out.

It behaves like the live captures at the engine's boundary and drives the runtime's loop in tests:
its file descriptor is readable exactly while packets wait.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lb_switch.capture.faults import FaultLog
from lb_switch.engine.verdict import Action

if TYPE_CHECKING:
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.engine.switch import Switch
    from lb_switch.engine.verdict import Verdict


class MemoryCapture:
    """Packets wait in `feed` order; what the switch lets out is appended to `sent`."""

    name = "memory"
    host = None

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        """Forwarded, passed and self-made packets, in the order in which they left."""
        self.verdicts: list[Verdict] = []
        """One per packet read, in order."""
        self.virtual_servers: tuple[VirtualServer, ...] = ()
        """What `update` was last given."""
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._faults = FaultLog()
        self._ready = -1

    def feed(self, packet: bytes, partial: bool = False) -> None:
        """Let an IP packet wait to be read.  `partial`: see `Switch.handle_packet`."""
        self._waiting.append((packet, partial))
        if self._ready >= 0:
            os.eventfd_write(self._ready, 1)

    def open(self) -> None:
        """Create the file descriptor that tells whether packets wait."""
        self._ready = os.eventfd(len(self._waiting), os.EFD_NONBLOCK | os.EFD_SEMAPHORE)

    def fileno(self) -> int:
        """Return a descriptor that is readable while packets wait."""
        return self._ready

    def handle_batch(self, switch: Switch, now: float, limit: int) -> int:
        """Hand at most `limit` waiting packets to the switch."""
        count = 0
        while self._waiting and count < limit:
            packet, partial = self._waiting.popleft()
            if self._ready >= 0:
                os.eventfd_read(self._ready)
            count += 1
            buffer = bytearray(packet)
            try:
                verdict = switch.handle_packet(buffer, 0, len(buffer), now, partial)
            except Exception:
                verdict = self._faults.note(switch)
            self.verdicts.append(verdict)
            if verdict.action is Action.FORWARD or verdict.action is Action.PASS:
                self.sent.append(bytes(buffer))
            self.send(verdict.packets)
        return count

    def send(self, packets: Iterable[bytes]) -> None:
        """Append the packets to `sent`."""
        self.sent.extend(packets)

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Remember the virtual servers; there are no host rules to change."""
        self.virtual_servers = tuple(virtual_servers)

    def losses(self) -> dict[str, int]:
        """Memory loses nothing."""
        return {}

    def close(self) -> None:
        """Close the descriptor."""
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1
