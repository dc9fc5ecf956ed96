"""What a recorded connection would have got from another scheduler.

Each scheduler is given the whole recording from its beginning, with all that happened to the real
servers: its counts and its rotation are its own when the connection comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lb_switch.compare.recorded import Recorded
from lb_switch.compare.run import ComparedGroup, run
from lb_switch.engine.switch import Settings
from lb_switch.explain.story import Story
from lb_switch.explain.style import Style
from lb_switch.stream.schema import (
    ChoiceEntry,
    ConnectionRecord,
    Header,
    PacketRecord,
    Record,
    decode,
)


def choices(
    header: Header,
    records: Sequence[Record],
    opened: Sequence[ConnectionRecord],
    recorded: Recorded,
    group: ComparedGroup,
    schedulers: Sequence[str],
    settings: Settings,
    style: Style,
) -> Iterator[str]:
    """Yield for each connection of `opened` what it got, and what it would have got.

    All of them are of the one virtual server that `recorded` holds the load of; `group` is that
    one's, perhaps with hash parameters of a configuration.
    """
    story = Story(header, style)
    places = {number: place for place, number in enumerate(recorded.numbers)}
    watched = [places[record.connection.number] for record in opened]
    courses = {
        name: run(recorded.load, group, name, settings, watched=watched) for name in schedulers
    }
    got = _recorded_choices(records)
    for record, place in zip(opened, watched, strict=True):
        connection = record.connection
        title = (
            f"connection {connection.number} at {record.time - header.time:.6f}:"
            f" {story.called(connection.client)} {style.glyphs.to}"
            f" {record.virtual_server} {connection.virtual}"
        )
        yield from (style.paint("bold", line) for line in style.fill(title, 0))
        choice = got.get(connection.number)
        text = story.called(connection.real) if choice is None else story.choice(choice)
        yield from style.fill(f"recorded: {text}")
        for name, course in courses.items():
            yield from _instead(name, course.told.get(place), connection.real, story, style)
        yield ""


def _instead(name: str, line: bytes | None, real: str, story: Story, style: Style) -> Iterator[str]:
    record = None if line is None else decode(line)
    if not isinstance(record, PacketRecord) or record.choice is None:
        yield from style.fill(f"instead: {name} would have refused it")
        return
    same = record.choice.real_server == real
    text = f"{'likewise' if same else 'instead'}: {story.choice(record.choice)}"
    for part in style.fill(text):
        yield part if same else style.paint("changed", part)


def _recorded_choices(records: Sequence[Record]) -> dict[int, ChoiceEntry]:
    return {
        record.connection.number: record.choice
        for record in records
        if isinstance(record, PacketRecord) and record.connection and record.choice
    }
