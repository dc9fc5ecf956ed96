"""What the page says when a thing is clicked: a packet, a connection.

Made of a header and the records that are at hand: all of a recording, or the last ones of a running
switch.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.explain import maglev_strip, states_svg
from lb_switch.explain.checksum_walk import walk
from lb_switch.explain.dissect import dissect
from lb_switch.explain.ladder_svg import svg
from lb_switch.explain.rungs import Rungs
from lb_switch.explain.selection import Followed
from lb_switch.explain.story import Story
from lb_switch.explain.style import Style
from lb_switch.explain.who import Who
from lb_switch.stream.schema import (
    ChoiceEntry,
    ConnectionRecord,
    Header,
    PacketRecord,
    Record,
    SentRecord,
)
from lb_switch.words import english as words

Object = dict[str, Any]

ABOUT = PacketRecord | ConnectionRecord | SentRecord
"""Records that may be about a connection."""


def of_packet(header: Header, record: PacketRecord) -> Object:
    """Return what there is to know of a packet."""
    style = Style()
    return {
        "number": record.number,
        "at": record.time,
        "verdict": record.verdict,
        "reason": record.reason,
        "why": words.sentence(record.reason),
        "connection": None if record.connection is None else record.connection.number,
        "story": _lines(Story(header, style).show(record)),
        "layers": _layers(record),
        "rewritten": record.after is not None,
        "checksum": _lines(walk(record, style)) if record.verdict == "forward" else [],
        "choice": None if record.choice is None else _choice(record, record.choice, header),
    }


def of_connection(header: Header, records: Iterable[Record], number: int) -> Object | None:
    """Return what there is to know of a connection; None if no record is about it."""
    own = [each for each in records if number_of(each) == number]
    ends = next((each.connection for each in own if isinstance(each, ABOUT)), None)
    if ends is None:
        return None
    changes = [each for each in own if isinstance(each, ConnectionRecord)]
    last = changes[-1] if changes else None
    story, who = Story(header, Style()), Who(header)
    states = _states(own)
    return {
        "number": number,
        "said": f"{ends.protocol}: {who.called(ends.client)} to {who.called(ends.virtual)}, "
        f"given to {who.called(ends.real)}",
        "protocol": ends.protocol,
        "client": ends.client,
        "virtual": ends.virtual,
        "real": ends.real,
        "source": ends.source,
        "states": states,
        "diagram": ""
        if ends.protocol != "tcp"
        else states_svg.svg([each["state"] for each in states], f"connection {number}"),
        "standing": "" if last is None else standing(last),
        "packets": [each.number for each in own if isinstance(each, PacketRecord)],
        "story": [line for each in own for line in _lines(story.show(each))],
    }


def ladder(header: Header, records: Sequence[Record], number: int) -> str:
    """Return the ladder of a connection as an SVG document."""
    drawer, followed = Rungs(header), Followed(header, str(number))
    own = [record for record in records if followed.concerns(record)]
    rungs = [rung for record in own for rung in drawer.of(record)]
    return svg(rungs, f"connection {number}")


def by_connection(records: Iterable[Record]) -> dict[int, list[Record]]:
    """Return for each connection's number the records that may concern it, in order.

    These are its own and those of no connection: all that `of_connection` and `ladder` look at.
    """
    found: dict[int, list[Record]] = {}
    of_none: list[Record] = []
    for record in records:
        number = number_of(record)
        if number is not None:
            # What came before concerns it as well.
            found.setdefault(number, list(of_none)).append(record)
            continue
        of_none.append(record)
        for own in found.values():
            own.append(record)
    return found


def number_of(record: Record) -> int | None:
    """Return the number of the connection that a record is about, if it is about one."""
    if isinstance(record, ABOUT):
        return None if record.connection is None else record.connection.number
    return None


def standing(record: ConnectionRecord) -> str:
    """Return how the connection stands after a change of it."""
    cause = "" if record.cause is None else words.cause(record.cause)
    return words.standing(record.state, gone=record.stage == "closed", because=cause)


def _layers(record: PacketRecord) -> list[Object]:
    before, after = dissect(record.bytes_before), dissect(record.bytes_after)
    if len(before) != len(after):
        after = before
    return [
        {
            "title": old.title,
            "fields": [
                {
                    "name": one.name,
                    "before": one.text,
                    "after": other.text,
                    "remark": words.field_remark(one.name) if one.text != other.text else "",
                }
                for one, other in zip(old.fields, new.fields, strict=False)
            ],
        }
        for old, new in zip(before, after, strict=True)
    ]


def _choice(record: PacketRecord, choice: ChoiceEntry, header: Header) -> Object:
    who = Who(header)
    strip = _strip(record, choice, header)
    chosen = choice.real_server or ""
    said = "the client had it before"
    if choice.rule is not None:
        said = words.choice(choice.rule, choice.facts, chosen, who.short)
    return {
        "server": chosen,
        "name": who.short(chosen) if chosen else "",
        "scheduler": choice.scheduler,
        "said": said if chosen else "no real server can be chosen",
        "facts": choice.facts,
        "candidates": list(choice.candidates),
        "passedOver": [each.model_dump() for each in choice.passed_over],
        "strip": "" if strip is None else maglev_strip.svg(strip, who.short),
        "stripSaid": ""
        if strip is None
        else words.maglev_leaving(
            who.short(strip.gone), strip.freed, strip.moved, len(strip.before)
        ),
    }


def _strip(record: PacketRecord, choice: ChoiceEntry, header: Header) -> maglev_strip.Strip | None:
    """Return Maglev's table; None for another scheduler, or if it cannot be known."""
    if choice.scheduler != "mh" or record.connection is None or choice.real_server is None:
        return None
    weights = {
        server.address: server.weight
        for group in header.virtual_servers
        if group.name == record.virtual_server
        for server in group.real_servers
    }
    try:
        client = Endpoint.parse(record.connection.client)
        virtual = Endpoint.parse(record.connection.virtual)
        return maglev_strip.strip(
            choice.real_server, choice.candidates, weights, choice.facts, client, virtual
        )
    except (ValueError, KeyError):  # a recording that says what no switch would
        return None


def _states(records: Iterable[Record]) -> list[Object]:
    """Return the way through the states: each with when it began."""
    way: list[Object] = []
    for record in records:
        state = getattr(record, "state", None)
        if isinstance(state, str) and (not way or way[-1]["state"] != state):
            way.append({"state": state, "at": getattr(record, "time", 0.0)})
    return way


def _lines(lines: Iterator[str]) -> list[str]:
    return [line.rstrip() for line in lines if line.strip()]
