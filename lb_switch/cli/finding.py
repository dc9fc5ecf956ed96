"""What `lb-switch doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.  `needed`: `lb-switch run` cannot do without it."""

    what: str
    ok: bool
    detail: str = ""
    fix: str = ""
    needed: bool = True
