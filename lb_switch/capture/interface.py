"""What a capture is: where packets come from and go back to.

A capture knows files, devices and the host's rules, and nothing of load balancing; the switch knows
packets and nothing of files.  `handle_batch` is where they meet.  The in-memory twin is `memory`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from lb_switch.host.error import HostError

if TYPE_CHECKING:
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.engine.switch import Switch
    from lb_switch.host.setup import HostSetup


DEFAULT_QUEUE = 0
"""Number of nfqueue's queue, where nobody says another."""


class CaptureError(HostError):
    """The capture cannot open or go on."""


class Capture(Protocol):
    """A source of IP packets that takes verdicts.  All methods are called by one thread."""

    name: str

    def open(self) -> None:
        """Open the device or queue and install the host's rules.  Raises CaptureError."""

    def fileno(self) -> int:
        """Return the file descriptor that is readable when packets wait."""

    def handle_batch(self, switch: Switch, now: float, limit: int) -> int:
        """Read at most `limit` packets without blocking and carry out their verdicts.

        `now` is in seconds on the clock of the engine.  Returns how many packets were read.
        An exception inside the engine costs the packet it happened on, never the loop.
        """

    def send(self, packets: Iterable[bytes]) -> None:
        """Send whole IP packets with complete checksums, made by the switch itself."""

    def losses(self) -> dict[str, int]:
        """Return what was lost so far, by kind, as counts; the names are the capture's own."""

    def close(self) -> None:
        """Remove exactly what `open` installed.  Idempotent; raises nothing."""


class LiveCapture(Capture, Protocol):
    """A capture whose host rules follow changes of the configuration."""

    @property
    def routed(self) -> bool:
        """Whether the host's forwarding has taken its hop of the packet at hand already."""

    @property
    def host(self) -> HostSetup | None:
        """What it has changed on the host; None: nothing ever."""

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Make the host's rules fit these virtual servers and their real servers.

        Rules of a real server that was taken out stay while it still has connections.
        Raises CaptureError and leaves the rules as they were if the change is impossible.
        """
