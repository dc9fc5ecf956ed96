"""Run programs of the host, or say in one line why one failed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from itertools import groupby

from lb_switch.host.error import HostError

_PACKAGES = {"ip": "iproute2"}
PATIENCE = 15.0
"""Seconds after which a program counts as hung."""


def run(argv: Sequence[str], stdin: str = "") -> str:
    """Return what the program printed.  Raises HostError with its first line of complaint."""
    try:
        # Its own process group: a Ctrl-C at the terminal must not kill an undo half-way.
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            process_group=0,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{' '.join(argv)}: no end after {PATIENCE:g} s") from None
    except FileNotFoundError:
        package = _PACKAGES.get(argv[0], "iptables")
        raise HostError(f"{argv[0]} is not installed: apt install {package}") from None
    if done.returncode != 0:
        complaint = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise HostError(f"{' '.join(argv)}: {complaint}")
    return done.stdout


def run_all(commands: Iterable[Sequence[str]], *, force: bool = False) -> None:
    """Run commands in order; those of `ip` that stand together, and are of one family, by one `ip`.

    Raises HostError at the first that fails; with `force`, all are tried, and none is complained
    about.
    """
    for options, together in groupby(commands, key=_batch):
        argvs = [list(argv) for argv in together]
        if not options:
            for argv in argvs:
                _run_or_go_on(argv, "", force)
            continue
        skip = len(options)
        lines = "".join(f"{' '.join(argv[skip:])}\n" for argv in argvs)
        _run_or_go_on([*options, *(("-force",) if force else ()), "-batch", "-"], lines, force)


def _batch(argv: Sequence[str]) -> tuple[str, ...]:
    """Return `ip` and its options, which a batch has in common; nothing for another program."""
    if argv[0] != "ip":
        return ()
    return ("ip", argv[1]) if argv[1] in {"-4", "-6"} else ("ip",)


def _run_or_go_on(argv: Sequence[str], stdin: str, force: bool) -> None:
    try:
        run(argv, stdin)
    except HostError:
        if not force:
            raise
