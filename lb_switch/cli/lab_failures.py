"""How a command that builds labs fails: the lab's errors as one line and an exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lb_switch.cli.failures import BAD_USAGE, CommandError


@contextlib.contextmanager
def lab_failures() -> Iterator[None]:
    """Turn the lab's errors into CommandErrors; first of all, say if a capability is missing."""
    from netns_lab.capability import missing
    from netns_lab.errors import LabError, UnknownNameError

    try:
        lacking = missing()
        if lacking is not None:
            raise LabError(lacking)
        yield
    except UnknownNameError as error:
        raise CommandError(str(error), BAD_USAGE) from None
    except LabError as error:
        raise CommandError(str(error)) from None
