"""Say before anything is touched that root is missing, and how to get it."""

from __future__ import annotations

from pathlib import Path

from lb_switch.capture.interface import CaptureError

_CAP_NET_ADMIN = 12


def require_net_admin(capture: str) -> None:
    """Raise CaptureError unless the process has CAP_NET_ADMIN (capabilities(7))."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(effective.split()[1], 16) >> _CAP_NET_ADMIN & 1:
        raise CaptureError(f"capture {capture} needs CAP_NET_ADMIN: run it with sudo")
