"""The header diff: a packet as it came and as it went on, side by side, field by field."""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.explain.checksum_walk import walk
from lb_switch.explain.describe import summarise
from lb_switch.explain.dissect import HeaderField, Layer, dissect
from lb_switch.explain.style import Style
from lb_switch.stream.schema import DroppedRecord, EndRecord, Header, PacketRecord, Record
from lb_switch.words.english import field_remark, sentence

_NAME, _VALUE = 20, 27


class HeaderDiff:
    """The view: `begin` once, then `show` each record; both yield lines of at most 80 columns.

    checksum: walk through the arithmetic of every checksum that was updated.  changed: leave out
    the fields that stayed; one packet then fits a screen of 24 lines.
    """

    def __init__(
        self, header: Header, style: Style, *, checksum: bool = False, changed: bool = False
    ) -> None:
        self._header = header
        self._style = style
        self._changed = changed
        self._real = {
            server.address for group in header.virtual_servers for server in group.real_servers
        }
        self._checksum = checksum

    def begin(self) -> Iterator[str]:
        """Say how to read it."""
        mark = self._style.glyphs.changed
        text = f"Fields that the switch changed are marked with {mark}."
        yield from self._style.fill(text, 0)
        yield ""

    def show(self, record: Record) -> Iterator[str]:
        """Show one packet; other records only where events are missing."""
        if isinstance(record, PacketRecord):
            yield from self._packet(record)
            yield ""
        elif isinstance(record, DroppedRecord):
            yield self._style.paint("bad", f"... {record.count:,} events are missing here")
            yield ""
        elif isinstance(record, EndRecord) and record.dropped:
            yield self._style.paint("bad", f"in all {record.dropped:,} events were dropped")

    def _packet(self, record: PacketRecord) -> Iterator[str]:
        style = self._style
        when = record.time - self._header.time
        reason = record.reason.replace("_", " ")
        title = f"packet {record.number} at {when:.6f}: {self._way(record)} ({reason})"
        yield from (style.paint("bold", line) for line in style.fill(title, 0))
        before, after = record.bytes_before, record.bytes_after
        if record.verdict != "forward":
            yield from style.fill(f"not rewritten: {sentence(record.reason)}", 2)
            return
        yield f"  {'':<{_NAME}} {'as it came':<{_VALUE}}   as it went on"
        for old, new in zip(dissect(before), dissect(after), strict=True):
            fields = [
                (old_field, new_field)
                for old_field, new_field in zip(old.fields, new.fields, strict=True)
                if not self._changed or old_field.text != new_field.text
            ]
            if fields or not self._changed:
                yield style.paint("bold", f"  {old.title}")
            for old_field, new_field in fields:
                yield from self._row(old_field, new_field)
        yield from self._footer(record, before, after)
        if self._checksum:
            yield from walk(record, style)

    def _way(self, record: PacketRecord) -> str:
        """Say from whom to whom it went, and where it ended if it did not arrive."""
        to = self._style.glyphs.to
        summary = summarise(record.bytes_before, record.length)
        if record.direction is None and record.verdict == "pass":
            return f"{summary.source} {to} {summary.destination}, passed on"
        from_server = record.direction == "reply" or (
            record.direction is None and summary.source in self._real
        )
        ends = ("server", "client") if from_server else ("client", "server")
        if summary.source == "?":
            ends = ("?", "?")
        if record.verdict in {"drop", "reply"}:
            what = "held back" if record.reason == "fragment_held" else "dropped"
            what = "answered" if record.verdict == "reply" else what
            return f"{ends[0]} {to} switch, {what}"
        return f"{ends[0]} {to} {ends[1]}, {summary.short}"

    def _row(self, old: HeaderField, new: HeaderField) -> Iterator[str]:
        style = self._style
        changed = old.text != new.text
        mark = style.glyphs.changed if changed else " "
        left, right = (
            old.text,
            new.text if changed else ("=" if old.name == "bytes here" else new.text),
        )
        name = f"    {old.name:<{_NAME - 2}}"
        if max(len(left), len(right)) <= _VALUE:
            if changed and field_remark(old.name):
                right += f" ({field_remark(old.name)})"
            line = f"{name} {left:<{_VALUE}} {mark} {right}".rstrip()
            yield style.paint("changed", line) if changed else line
            return
        # IPv6 addresses need a line each.
        if not changed:
            yield f"{name} {left}"
            return
        yield style.paint("changed", f"{name}   {left}")
        yield style.paint("changed", f"{'':<{len(name)}} {mark} {right}")

    def _footer(self, record: PacketRecord, before: bytes, after: bytes) -> Iterator[str]:
        changed = [
            at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
        ]
        text = f"changed: {len(changed)} of {record.length:,} bytes"
        counts = _by_field(dissect(after), changed)
        if self._changed:
            stayed = sum(len(layer.fields) for layer in dissect(after)) - len(counts)
            text += f"; {stayed} fields stayed as they were"
        elif counts:
            text += f" ({', '.join(f'{name} {count}' for name, count in counts.items())})"
        yield from self._style.fill(text, 2)
        if not record.whole:
            kept = f"the recording keeps the first {len(before)} bytes of it"
            yield from self._style.fill(kept, 2)


def _by_field(layers: tuple[Layer, ...], changed: list[int]) -> dict[str, int]:
    """Count changed bytes by the field that they stand in."""
    counts: dict[str, int] = {}
    for layer in layers:
        for field in layer.fields:
            count = sum(field.start <= at < field.end for at in changed)
            if count:
                name = f"{layer.title} {field.name}"
                counts[name] = counts.get(name, 0) + count
    return counts
