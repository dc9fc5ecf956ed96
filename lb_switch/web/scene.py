"""What the page draws, as messages: JSON objects with a `kind` and the time `at`.

=========== ====================================================================================
kind        fields
=========== ====================================================================================
scene       `hosts` (names by address), `groups`: everything that stands on the page
packet      `number`, `connection` (its number or null), `verdict`, `reason`, `why` (a sentence),
            `steps`: what travels, each with its `left` and `right` leg
connection  `number`, `stage`, `client`, `virtual`, `real`, `state`, `said` (how it stands)
probe       `group`, `server`, `check`, `passed`, `finding`
news        `text`: something else has happened
missing     `count`: records that this program was too slow for
=========== ====================================================================================

Times are seconds of the switch's clock.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lb_switch.explain.rungs import Leg, Rung, Rungs
from lb_switch.explain.story import News, Story
from lb_switch.explain.style import Style
from lb_switch.explain.who import address_of
from lb_switch.stream.picture import Picture
from lb_switch.stream.schema import (
    ConnectionRecord,
    DroppedRecord,
    Header,
    PacketRecord,
    ProbeRecord,
    Record,
    SentRecord,
    ServerRecord,
    VirtualServerRecord,
)
from lb_switch.web.details import standing
from lb_switch.words import english as words

Message = dict[str, Any]

_SCENE_CHANGES = (ConnectionRecord, ServerRecord, VirtualServerRecord)


class Scene:
    """Follows the records of a stream from its header on.

    `stale` says that the last `scene` message is not true any more: whoever sends messages asks for
    another one when it suits (many changes may come at once).
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.picture = Picture(header)
        self.stale = False
        self._rungs = Rungs(header)
        self._story = Story(header, Style())

    def scene(self) -> Message:
        """Return the message of everything that stands on the page now."""
        self.stale = False
        names = self.picture.hosts
        groups = self.picture.rows()
        for group in groups:
            for server in group["real_servers"]:
                server["name"] = names.get(address_of(server["address"]), "")
        return {"kind": "scene", "at": self.picture.time, "hosts": names, "groups": groups}

    def of(self, record: Record) -> Iterator[Message]:
        """Yield what a record means for the page."""
        self.picture.learn(record)
        self.stale = self.stale or isinstance(record, _SCENE_CHANGES)
        rungs = self._rungs.of(record)
        if isinstance(record, PacketRecord | SentRecord):
            yield _packet(record, rungs)
        elif isinstance(record, ConnectionRecord):
            yield _connection(record)
        elif isinstance(record, ProbeRecord):
            yield _probe(record)
        elif isinstance(record, DroppedRecord):
            yield {"kind": "missing", "at": self.picture.time, "count": record.count}
        if isinstance(record, News):
            yield {"kind": "news", "at": record.time, "text": self._story.news(record)}


def _packet(record: PacketRecord | SentRecord, rungs: list[Rung]) -> Message:
    connection = record.connection
    message = {
        "kind": "packet",
        "at": record.time,
        "connection": None if connection is None else connection.number,
        "group": record.virtual_server,
        "steps": [_step(rung) for rung in rungs if rung.has_legs],
    }
    if isinstance(record, SentRecord):
        return {**message, "number": None, "verdict": "sent", "reason": "own", "why": ""}
    return {
        **message,
        "number": record.number,
        "verdict": record.verdict,
        "reason": record.reason,
        "why": words.sentence(record.reason),
    }


def _step(rung: Rung) -> Message:
    lanes = rung.lanes
    return {
        "client": lanes.left_address,
        "clientName": lanes.left,
        "server": lanes.right_address,
        "serverName": lanes.right,
        "left": _leg(rung.left),
        "right": _leg(rung.right),
        "inward": rung.inward,
        "note": rung.note,
        "state": rung.after,
    }


def _leg(leg: Leg | None) -> Message | None:
    if leg is None:
        return None
    return {
        "what": leg.what,
        "address": leg.address,
        "also": leg.also,
        "rightwards": leg.rightwards,
        "ends": leg.ends,
    }


def _connection(record: ConnectionRecord) -> Message:
    ends = record.connection
    return {
        "kind": "connection",
        "at": record.time,
        "stage": record.stage,
        "number": ends.number,
        "group": record.virtual_server,
        "protocol": ends.protocol,
        "client": ends.client,
        "virtual": ends.virtual,
        "real": ends.real,
        "state": record.state,
        "said": standing(record),
    }


def _probe(record: ProbeRecord) -> Message:
    return {
        "kind": "probe",
        "at": record.time,
        "group": record.virtual_server,
        "server": record.real_server,
        "check": record.kind,
        "passed": record.passed,
        "finding": record.finding,
        "became": record.became,
    }
