"""Reading the CONFIG argument of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lb_switch.cli.failures import BAD_CONFIGURATION, CommandError

if TYPE_CHECKING:
    from lb_switch.config.schema import Config


def load_config(path: Path) -> Config:
    """Return a valid configuration.  Raises CommandError with all of its errors, exit code 2."""
    from lb_switch.config.load import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        raise CommandError(error.lines, BAD_CONFIGURATION) from None
