"""A switch whose packets go to a pcapng file, as live: through the stream and its reader."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lb_switch.engine.switch import Switch
from lb_switch.export.both_sides import BothSides
from lb_switch.export.pcapng_file import LiveFile
from lb_switch.stream import encode
from lb_switch.stream.hub import Hub
from lb_switch.stream.live import WRITTEN
from lb_switch.stream.schema import Header
from tests.support import tshark

EPOCH_NS = 1_700_000_000_000_000_000


class BothSidesFile:
    """`close` it, and what the switch has told since stands in the file."""

    def __init__(
        self,
        path: Path,
        switch: Switch,
        hosts: dict[str, str] | None = None,
        routed: Callable[[], bool] | None = None,
        make: Callable[[Header], BothSides] = BothSides,
        epoch_ns: int = EPOCH_NS,
    ) -> None:
        self.path = path
        self.faults = 0
        self.lines: list[bytes] = []
        self._make = make
        self._epoch_ns = epoch_ns
        self._hub = Hub(switch, lambda: hosts or {}, routed)
        self.lines.append(self._hub.header(WRITTEN.keep, 0.0))
        self._hub.add(self, WRITTEN)

    def put(self, line: bytes) -> None:
        self.lines.append(line)

    def drop(self) -> None:
        raise AssertionError("an event that cannot be told")

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._hub.remove(self)
        told = iter([*self.lines, encode.end(0.0, 0, 0), b""])
        with self.path.open("wb") as written:
            name = os.fspath(self.path)
            file = LiveFile(told.__next__, written.fileno(), name, self._epoch_ns, self._make)
            file.write()
            self.faults = file.faults

    def rows(self, *fields: str, only: str = "") -> list[tuple[str, ...]]:
        """Return what tshark says of these fields, for the frames that match `only`."""
        tshark.need_tshark()
        self.close()
        assert self.faults == 0
        return tshark.rows(self.path, *fields, only=only)
