"""Connections as they come and go, for whoever watches: the newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Row = dict[str, Any]

_Key = tuple[str, str, str, str]


class _Seen(NamedTuple):
    row: Row
    since: float | None
    """When it was seen first; None: it was there when the watching began."""
    gone: float | None = None
    """When it was seen no more."""


class WatchedConnections:
    """Keeps from look to look what a single look cannot tell: age, and what has ended.

    `recent`: seconds for which those that ended stay in sight.
    """

    def __init__(self, recent: float) -> None:
        self._recent = recent
        self._seen: dict[_Key, _Seen] = {}
        self._began = False

    def lines(self, rows: Iterable[Row], hosts: Mapping[str, str], now: float) -> Iterator[str]:
        """Yield a heading and a line for each connection.  `hosts`: names by address."""
        self._learn(rows, now)
        order = sorted(
            self._seen.values(), key=lambda each: each.since if each.since is not None else -1.0
        )
        table = [("age", "pro", "state", "client", "virtual", "real server")]
        for each in reversed(order):
            row = each.row
            age = "before" if each.since is None else f"{now - each.since:.0f} s"
            state = row["state"] if each.gone is None else f"({row['state']})"
            ends = (_named(row[end], hosts) for end in ("source", "virtual", "destination"))
            table.append((age, row["protocol"].upper(), state, *ends))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for cells in table:
            line = zip(cells, widths, strict=True)
            yield "  ".join(f"{cell:<{width}}" for cell, width in line).rstrip()

    def _learn(self, rows: Iterable[Row], now: float) -> None:
        there: dict[_Key, Row] = {_key(row): row for row in rows}
        since = now if self._began else None
        self._began = True
        for key, seen in list(self._seen.items()):
            gone = seen.gone if seen.gone is not None else now
            if key in there:
                if seen.gone is not None:  # a new one on the same ports
                    del self._seen[key]
            elif now - gone >= self._recent:
                del self._seen[key]
            else:
                self._seen[key] = seen._replace(gone=gone)
        for key, row in there.items():
            known = self._seen.get(key)
            self._seen[key] = _Seen(row, since if known is None else known.since)


def _key(row: Row) -> _Key:
    return row["protocol"], row["source"], row["virtual"], row["destination"]


def _named(place: str, hosts: Mapping[str, str]) -> str:
    name = hosts.get(place.rpartition(":")[0].strip("[]"))
    return f"{name} {place}" if name else place
