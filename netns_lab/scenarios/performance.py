"""How a story ends well, also when it does not: exit codes, Ctrl-C, and a lab that is gone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.scenarios.stage import SurpriseError

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def perform(program: str, lab: Lab, tell: Callable[[], bool]) -> int:
    """Tell a story with a lab, then remove the lab, whatever happens.

    tell: whether all was as it should be.  Returns the exit code: 0, or 1 if it was not, or if
    something broke (one line on stderr, which begins with `program`).  A signal N raises
    SystemExit(128 + N).
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # The first one counts; impatience must not interrupt the clean-up.
        _ignore_interrupts()
        raise SystemExit(128 + number)

    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    try:
        return 0 if tell() else 1
    except (LabError, SurpriseError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read has seen enough.  Nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit:
        print(f"\n{program}: interrupted, cleaning up", file=sys.stderr)
        raise
    finally:
        _ignore_interrupts()
        lab.down()


def _ignore_interrupts() -> None:
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
