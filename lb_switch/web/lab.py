"""What the page may do to a lab that its switch is in: as `lb-switch lab web` offers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class RefusedError(Exception):
    """It cannot be done; `str` says why."""


class Lab(Protocol):
    """A lab that is up."""

    def state(self) -> dict[str, Any]:
        """Return its machines and virtual servers, as JSON can hold it.  Raises RefusedError."""

    def act(self, wanted: Mapping[str, Any]) -> list[str]:
        """Do what is wanted, and say what was done.  Raises RefusedError."""
