"""Run one program of the host, or say in one line why it failed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lb_switch.host.error import HostError

_PACKAGES = {"ip": "iproute2"}


def run(argv: Sequence[str], stdin: str = "") -> str:
    """Return what the program printed.  Raises HostError with its first line of complaint."""
    try:
        # Its own process group: a Ctrl-C at the terminal must not kill an undo half-way.
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, check=False, process_group=0
        )
    except FileNotFoundError:
        package = _PACKAGES.get(argv[0], "iptables")
        raise HostError(f"{argv[0]} is not installed: apt install {package}") from None
    if done.returncode != 0:
        complaint = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise HostError(f"{' '.join(argv)}: {complaint}")
    return done.stdout
