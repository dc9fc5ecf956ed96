"""One probe: is this target alive?  Raises nothing; whatever happens becomes a `ProbeResult`."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Mapping

from lb_switch.health.check import CheckKind, Target
from lb_switch.health.probes import http, https, icmp, tcp
from lb_switch.health.probes.failure import OwnTroubleError, ProbeFailedError
from lb_switch.health.probes.lateness import LATENESS
from lb_switch.health.tracker import TOO_BUSY, ProbeResult

PROBES: Mapping[CheckKind, Callable[[Target], Awaitable[str]]] = {
    "icmp": icmp.probe,
    "tcp": tcp.probe,
    "http": http.probe,
    "https": https.probe,
}
"""Each returns what it found if the target passes; raises ProbeFailedError or OSError if not."""

LOCAL_TROUBLE = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EPERM,
    }
)
"""The probe never left this machine: a local firewall, no descriptor, port or memory.  That says
nothing about the real server.  Not EACCES: so says a prohibit route, an administrator's ICMPv6
error or a policy about the way to it, which clients' packets take as well."""


async def probe(target: Target) -> ProbeResult:
    """Probe once, for at most the target's timeout: connecting, asking and reading together.

    What is found behind the deadline counts as not found: `asyncio.timeout` looks at the clock only
    between the turns of all probes, and many large answers make these turns long.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    passed: bool | None = False
    try:
        async with asyncio.timeout(target.timeout):
            finding = await PROBES[target.kind](target)
            if clock() - begin > target.timeout:
                raise TimeoutError
        passed = True
    except ProbeFailedError as failure:
        finding = str(failure)
    except TimeoutError:
        finding = f"timeout after {target.timeout} s"
        if LATENESS.spoils(begin, target.timeout, clock()):
            passed, finding = None, TOO_BUSY
    except OSError as error:
        finding = _explained(error)
        if error.errno in LOCAL_TROUBLE or isinstance(error, OwnTroubleError):
            passed, finding = None, f"cannot probe: {finding}"
    except Exception as error:
        # A bug of ours is no evidence against anybody.
        passed, finding = None, f"cannot probe: internal error: {type(error).__name__}: {error}"
    return ProbeResult(passed, finding, round(clock() - begin, 6))


def _explained(error: OSError) -> str:
    match error:
        case ConnectionRefusedError():
            return "connect refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case _:
            text = os.strerror(error.errno) if error.errno else str(error)
            return f"{text[:1].lower()}{text[1:]}"
