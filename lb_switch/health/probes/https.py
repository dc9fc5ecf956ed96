"""Does it answer a GET as it should, over TLS?  The rest is `http`'s."""

from __future__ import annotations

from lb_switch.health.check import Target
from lb_switch.health.probes import http, tls


async def probe(target: Target) -> str:
    """Connect, shake hands, GET, and read the whole answer.  Raises ProbeFailedError, OSError."""
    stream = await tls.connect(target, http.MAX_ANSWER)
    try:
        return await http.get(target, 443, stream.read, stream.write)
    finally:
        stream.close()
