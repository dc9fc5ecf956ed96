"""Does the service port accept?  SYN, SYN/ACK, ACK, then FIN."""

from __future__ import annotations

from lb_switch.health.check import Target
from lb_switch.health.probes.wire import Wire


async def probe(target: Target) -> str:
    """Connect and close in order.  Raises OSError."""
    wire = await Wire.open(target)
    # The FIN goes out before a greeting can come in, which closing alone, with bytes unread, would
    # answer with a RST.
    wire.end()
    wire.close()
    return "connected"
