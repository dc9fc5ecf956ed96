"""What can go wrong with a lab, each as one line for a person."""

from __future__ import annotations


class LabError(Exception):
    """The lab could not do it; `str` is one clear line."""


class UnknownNameError(LabError):
    """A topology, prefix, lab or host of that name does not exist: bad usage."""
