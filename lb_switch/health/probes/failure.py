"""How a probe says that its target does not pass."""

from __future__ import annotations


class ProbeFailedError(Exception):
    """The target answered, but not as it should; the text is the finding."""


class OwnTroubleError(OSError):
    """The prober's own side cannot be set up: that says nothing about the target."""
