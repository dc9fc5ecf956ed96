"""Connections as they come and go, for whoever watches: the newest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from lb_switch.explain.who import address_of
from lb_switch.stream.schema import ConnectionEntry, ConnectionRecord, Record


class _Seen(NamedTuple):
    entry: ConnectionEntry
    state: str
    since: float | None
    """When it was opened; None: it was there when the watching began."""
    gone: float | None = None
    """When it left the table."""


class WatchedConnections:
    """Reads a stream of connections.

    `hosts`: names by address.  `recent`: seconds for which those that ended stay in sight.
    `only` says of which connections it is; `clock` returns seconds.
    """

    def __init__(
        self,
        hosts: Mapping[str, str],
        recent: float,
        only: Callable[[ConnectionEntry], bool] = lambda _entry: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosts = hosts
        self._recent = recent
        self._only = only
        self._clock = clock
        self._seen: dict[int, _Seen] = {}

    def learn(self, record: Record) -> None:
        """Learn of a connection that came, changed or went."""
        if not isinstance(record, ConnectionRecord) or not self._only(record.connection):
            return
        now, number = self._clock(), record.connection.number
        known = self._seen.get(number)
        since = now if record.stage == "opened" else known and known.since
        if record.stage != "closed":
            self._seen[number] = _Seen(record.connection, record.state, since)
        elif known is not None and self._recent > 0:
            self._seen[number] = known._replace(gone=now)
        else:
            self._seen.pop(number, None)

    def lines(self) -> Iterator[str]:
        """Yield a heading and a line for each connection."""
        now = self._clock()
        for number, each in list(self._seen.items()):
            if each.gone is not None and now - each.gone >= self._recent:
                del self._seen[number]
        order = sorted(
            self._seen.values(), key=lambda each: each.since if each.since is not None else -1.0
        )
        table = [("age", "pro", "state", "client", "virtual", "real server")]
        for each in reversed(order):
            entry = each.entry
            age = "before" if each.since is None else f"{now - each.since:.0f} s"
            state = each.state if each.gone is None else f"({each.state})"
            client, virtual, real = map(self._named, (entry.client, entry.virtual, entry.real))
            table.append((age, entry.protocol.upper(), state, client, virtual, real))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for cells in table:
            line = zip(cells, widths, strict=True)
            yield "  ".join(f"{cell:<{width}}" for cell, width in line).rstrip()

    def _named(self, place: str) -> str:
        name = self._hosts.get(address_of(place))
        return f"{name} {place}" if name else place
