"""Which checksums a packet has, what each covers, and how it was updated.  Pure arithmetic.

The update is RFC 1624, equation 3:  HC' = ~(~HC + ~m + m')  for every 16-bit word m that becomes
m'.  The same sum in the same order as it is done by hand: one addition, one end-around carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lb_switch.engine.packet import checksum
from lb_switch.engine.packet.protocol import ICMPV6, TCP, UDP
from lb_switch.explain.dissect import Layer, dissect

_PROTOCOLS = {"TCP": TCP, "UDP": UDP, "ICMPv6": ICMPV6}


class Word(NamedTuple):
    """Two bytes that a checksum covers, and that changed."""

    name: str
    old: int
    new: int


class Update(NamedTuple):
    """One checksum and its update.

    `partial`: the field holds only the pseudo-header sum, not inverted.  `absent`: UDP's zero,
    which means that there is none.  `recomputed` and `recomputed_before`: what a full computation
    gives for the packet as it went on, and as it came; None where not all of it is there.
    """

    name: str
    old: int
    new: int
    words: tuple[Word, ...]
    partial: bool
    absent: bool
    recomputed: int | None
    recomputed_before: int | None


class Addition(NamedTuple):
    """One addition: `total` may have 17 bits, `folded` has the carry added at the other end."""

    added: int
    total: int
    folded: int


def updates(before: bytes, after: bytes, whole: bool, partial: bool) -> Iterator[Update]:
    """Yield the checksums of a packet that changed, or that cover what changed; inner ones first.

    `whole`: nothing of the packet is missing.  `partial`: its own L4 checksum is partial.
    """
    old_layers, new_layers = dissect(before), dissect(after)
    found = []
    for index, layer in enumerate(old_layers):
        field = layer.find("header checksum") or layer.find("checksum")
        if field is None:
            continue
        cover = _Cover(old_layers, new_layers, index, before, after)
        own_partial = partial and not layer.quoted and layer.name in {"TCP", "UDP"}
        words = tuple(cover.changed(field.start, pseudo_only=own_partial))
        old, new = field.value, int.from_bytes(after[field.start : field.end], "big")
        if not words and old == new:
            continue
        absent = layer.name == "UDP" and old == 0 and not own_partial
        complete = own_partial or cover.complete(whole)
        found.append(
            Update(
                f"{layer.title} {field.name}",
                old,
                new,
                words,
                own_partial,
                absent,
                cover.recompute(True, field.start, own_partial) if complete else None,
                cover.recompute(False, field.start, own_partial) if complete else None,
            )
        )
    # An ICMP error's checksum covers those of the packet that it quotes.
    found.sort(key=lambda each: not each.name.startswith("quoted"))
    yield from found


def steps(update: Update) -> Iterator[Addition]:
    """Yield the additions, two for each word: ~m and m'."""
    total = update.old if update.partial else update.old ^ 0xFFFF
    for word in update.words:
        for added in (word.old ^ 0xFFFF, word.new):
            raised = total + added
            total = checksum.fold(raised)
            yield Addition(added, raised, total)


def result(update: Update) -> int:
    """Return what the arithmetic gives: the new checksum."""
    total = update.old if update.partial else update.old ^ 0xFFFF
    for step in steps(update):
        total = step.folded
    if update.partial:
        return total
    value = total ^ 0xFFFF
    return value or 0xFFFF if update.name.endswith("UDP checksum") else value


class _Cover:
    """What one checksum covers: bytes of the packet, and perhaps a pseudo-header."""

    def __init__(
        self,
        old_layers: Sequence[Layer],
        new_layers: Sequence[Layer],
        index: int,
        before: bytes,
        after: bytes,
    ) -> None:
        self._layers = old_layers, new_layers
        self._data = before, after
        self._layer = layer = old_layers[index]
        self._ip = max((i for i in range(index + 1) if old_layers[i].is_ip), default=0)
        ip = old_layers[self._ip]
        if layer.is_ip:
            self._end = layer.end
        else:
            self._end = ip.start + _total_length(ip)
        self._pseudo = layer.name in _PROTOCOLS

    def changed(self, field_start: int, pseudo_only: bool) -> Iterator[Word]:
        """Yield the covered words that changed, without the checksum itself."""
        before, after = self._data
        if self._pseudo:
            ip = self._layers[0][self._ip]
            for name in ("source", "destination"):
                field = ip.find(name)
                if field is not None:
                    yield from self._words(field.start, field.end, name, -1)
        if not pseudo_only:
            for at in range(self._layer.start, min(self._end, len(before)), 2):
                if at != field_start and before[at : at + 2] != after[at : at + 2]:
                    yield from self._words(at, min(at + 2, self._end), self._name_at(at), at)

    def _words(self, start: int, end: int, name: str, at: int) -> Iterator[Word]:
        before, after = self._data
        count = (end - start + 1) // 2
        for number in range(count):
            place = start + 2 * number
            old, new = (_word(data, place, end) for data in (before, after))
            if old != new:
                part = f", word {number + 1}" if count > 1 and at < 0 else ""
                yield Word(name + part, old, new)

    def _name_at(self, at: int) -> str:
        for layer in self._layers[0]:
            for field in layer.fields:
                if field.start <= at < field.end:
                    title = "" if layer is self._layer else f"{layer.title} "
                    size = field.end - field.start
                    part = f", word {(at - field.start) // 2 + 1}" if size > 2 else ""
                    return f"{title}{field.name}{part}"
        return f"byte {at}"

    def complete(self, whole: bool) -> bool:
        """Whether everything that is covered is there."""
        layer, ip = self._layer, self._layers[0][self._ip]
        if layer.is_ip:
            return layer.end - layer.start == max(20, layer.value("header length"))
        fragment = any(
            each.find("fragment offset") is not None
            and (each.value("fragment offset") or "MF" in each.text("flags"))
            for each in self._layers[0]
            if each.quoted == layer.quoted
        )
        there = len(self._data[0]) >= ip.start + _total_length(ip)
        return there and not fragment and (whole or layer.quoted)

    def recompute(self, after: bool, field_start: int, partial: bool) -> int:
        """Compute the checksum anew."""
        data, layers = self._data[after], self._layers[after]
        layer = self._layer
        total = 0
        if self._pseudo:
            ip = layers[self._ip]
            block = (
                slice(ip.start + 12, ip.start + 20)
                if ip.name == "IPv4"
                else slice(ip.start + 8, ip.start + 40)
            )
            addresses = data[block]
            half = len(addresses) // 2
            total = checksum.pseudo_header_sum(
                addresses[:half], addresses[half:], _PROTOCOLS[layer.name], self._end - layer.start
            )
            if partial:
                return total
        covered = bytearray(data[layer.start : self._end])
        covered[field_start - layer.start : field_start - layer.start + 2] = b"\0\0"
        value = checksum.internet_checksum(covered, total)
        return value or 0xFFFF if layer.name == "UDP" else value


def _total_length(ip: Layer) -> int:
    return ip.value("total length") if ip.name == "IPv4" else 40 + ip.value("payload length")


def _word(data: bytes, at: int, end: int) -> int:
    return int.from_bytes(data[at : min(at + 2, end)].ljust(2, b"\0"), "big")
