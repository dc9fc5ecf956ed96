"""What a scheduler's explanation says in words."""

from __future__ import annotations

from lb_switch.engine.servers import Explanation
from lb_switch.words import english


def said(explanation: Explanation) -> str:
    """Return the server and why, in one line."""
    chosen = str(explanation.server.endpoint)
    return f"{chosen}: {english.choice(explanation.rule.value, explanation.facts, chosen)}"
