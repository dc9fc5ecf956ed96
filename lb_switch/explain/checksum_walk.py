"""A walk through the checksum arithmetic of one packet, with the real words and carries."""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.explain.checksums import Update, result, steps, updates
from lb_switch.explain.style import Style
from lb_switch.stream.schema import PacketRecord


def walk(record: PacketRecord, style: Style) -> Iterator[str]:
    """Yield the lines for every checksum that had to be updated."""
    for update in updates(record.bytes_before, record.bytes_after, record.whole, record.partial):
        yield ""
        yield style.paint(
            "bold", f"  {update.name}: {_hex(update.old)} {style.glyphs.to} {_hex(update.new)}"
        )
        if update.absent:
            yield "    0000 says that there is no checksum (RFC 768), and so it stays."
            continue
        yield from _arithmetic(update, style)
        yield from _check(update, style)


def _arithmetic(update: Update, style: Style) -> Iterator[str]:
    if update.partial:
        yield "    a partial checksum S: only the sum of the pseudo-header (addresses,"
        yield "    protocol, length), not inverted. The network card adds the rest later, so"
        yield "    that ports do not count yet:"
        yield "    S' = S + ~m + m'  for each word m that becomes m'"
    else:
        yield "    HC' = ~(~HC + ~m + m')  for each word m that becomes m'  (RFC 1624, eq. 3)"
    to = style.glyphs.to
    yield f"    {'word':<33}   m {'':<{len(to)}} m'"
    for word in update.words:
        yield f"    {word.name:<33} {_hex(word.old)} {to} {_hex(word.new)}"
    total = update.old if update.partial else update.old ^ 0xFFFF
    label = "S" if update.partial else f"~HC = ~{_hex(update.old)}"
    yield f"    {label:<44} {_hex(total)}"
    additions = iter(steps(update))
    for word in update.words:
        for sign, value in (("~", word.old), ("", word.new)):
            step = next(additions)
            written = f"+ {sign}{_hex(value)}" + (f" = {_hex(step.added)}" if sign else "")
            carry = f"{step.total:05x}, carry 1 goes round: " if step.total > 0xFFFF else ""
            yield f"    {written:<16}{carry:>28} {_hex(step.folded)}"
    final = result(update)
    label = "S'" if update.partial else f"HC' = ~{_hex(final ^ 0xFFFF)}"
    yield style.paint("changed", f"    {label:<44} {_hex(final)}")


def _check(update: Update, style: Style) -> Iterator[str]:
    right = style.paint("good", style.glyphs.tick)
    if result(update) != update.new:
        yield style.paint("bad", f"    the switch wrote {_hex(update.new)}: {style.glyphs.cross}")
    if update.recomputed is None or update.recomputed_before is None:
        yield "    no check: not all of what it covers is in the recording"
    elif _same(update.recomputed, update.new):
        yield f"    check: computed anew over all of it: {_hex(update.recomputed)} {right}"
    elif not _same(update.recomputed_before, update.old):
        came, right_one = _hex(update.old), _hex(update.recomputed_before)
        yield f"    check: computed anew it would be {_hex(update.recomputed)}. But the packet came"
        yield f"    damaged ({came} instead of {right_one}), and an update keeps that visible."
    else:
        yield style.paint(
            "bad", f"    check: computed anew it is {_hex(update.recomputed)} {style.glyphs.cross}"
        )


def _same(one: int, other: int) -> bool:
    """Whether two checksums mean the same: in one's complement 0000 and ffff are both zero."""
    return one == other or {one, other} == {0, 0xFFFF}


def _hex(word: int) -> str:
    return f"{word:04x}"
