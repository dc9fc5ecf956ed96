"""What the switch and its probe process say to each other: JSON objects, one per line.

From the switch::

    {"start": 7, "kind": "tcp", "ip": "10.0.2.11", "port": 80, "interval": 2.0, "timeout": 1.0,
     "path": "/", "expect_status": [200], "host": "", "verify": true, "ca_file": ""}
    {"stop": 7}

The number is the check's name in all that follows.  From the probe process, once it can work and
after each probe::

    {"ready": true}
    {"check": 7, "passed": true, "finding": "connected", "seconds": 0.0003}

`passed` is null for a probe that could not be made.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, NamedTuple

from lb_switch.harmless import harmless_json
from lb_switch.health.check import Target
from lb_switch.health.tracker import ProbeResult


class Start(NamedTuple):
    """Probe `target` from now on."""

    number: int
    target: Target


class Stop(NamedTuple):
    """Probe it no more."""

    number: int


class Ready(NamedTuple):
    """The probe process can work."""


class Found(NamedTuple):
    """One probe of a check has ended."""

    number: int
    result: ProbeResult


Order = Start | Stop
"""What the switch says."""
ProbeAnswer = Ready | Found
"""What the probe process says."""


def start(number: int, target: Target) -> bytes:
    """Return the line of a `Start`."""
    fields = target._asdict()
    return _line({"start": number, **fields, "ip": str(target.ip)})


def stop(number: int) -> bytes:
    """Return the line of a `Stop`."""
    return _line({"stop": number})


def ready() -> bytes:
    """Return the line of a `Ready`."""
    return _line({"ready": True})


def found(number: int, result: ProbeResult) -> bytes:
    """Return the line of a `Found`."""
    return _line({"check": number, **result._asdict()})


def read_order(line: bytes) -> Order:
    """Return what the switch wants.  Raises ValueError, KeyError or TypeError."""
    message: dict[str, Any] = json.loads(line)
    if "stop" in message:
        return Stop(message["stop"])
    number = message.pop("start")
    ip = ipaddress.ip_address(message.pop("ip"))
    expect_status = tuple(message.pop("expect_status"))
    return Start(number, Target(ip=ip, expect_status=expect_status, **message))


def read_answer(line: bytes) -> ProbeAnswer:
    """Return what the probe process says.  Raises ValueError, KeyError or TypeError."""
    message: dict[str, Any] = json.loads(line)
    if "ready" in message:
        return Ready()
    # What a real server answered is quoted in it.
    return Found(message.pop("check"), ProbeResult(**harmless_json(message)))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
