"""Which capabilities this process has (capabilities(7)), and how many files it may open."""

from __future__ import annotations

import resource
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lb_switch.cli.failures import CommandError

NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}

STATUS = Path("/proc/self/status")

FOR_CAPTURE = {"tun": ("CAP_NET_ADMIN",), "nfqueue": ("CAP_NET_ADMIN", "CAP_NET_RAW")}
"""To make devices, routes and rules; to send the switch's own packets by a raw socket."""


def effective() -> set[str]:
    """Return those of NUMBERS that are in effect."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return {name for name, number in NUMBERS.items() if mask >> number & 1}
    return set()


def require(names: Sequence[str]) -> None:
    """Raise CommandError, naming what is missing and the exact command that has it."""
    missing = [name for name in names if name not in effective()]
    if missing:
        arguments = shlex.join(sys.argv[1:])
        raise CommandError(f"{' and '.join(missing)} missing: sudo lb-switch {arguments}".rstrip())


def require_descriptors(count: int) -> None:
    """Raise CommandError if this process may not have so many files open.

    A lower limit that may be raised, is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in {soft, hard} or soft >= count:
        return
    if hard < count:
        raise CommandError(f"needs {count} file descriptors, and may have {hard}: raise ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
