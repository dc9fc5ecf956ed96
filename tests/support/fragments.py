"""Cut packets into fragments and put them together again: by hand, naively, for v4 and v6."""

from __future__ import annotations

import itertools
import struct

from tests.support.packets import dissect
from tests.support.soundness import repaired, soundness


def fragments(data: bytes, cuts: list[int], identification: int = 7) -> list[bytes]:
    """Cut a packet without options or extension headers at these offsets of its IP payload.

    A cut counts in units of 8 bytes.
    """
    six = data[0] >> 4 == 6
    head, payload = (data[:40], data[40:]) if six else (data[:20], data[20:])
    edges = [0, *(cut * 8 for cut in cuts), len(payload)]
    return [
        fragment(head, payload[start:stop], start, stop < len(payload), identification)
        for start, stop in itertools.pairwise(edges)
    ]


def fragment(head: bytes, part: bytes, offset: int, more: bool, identification: int = 7) -> bytes:
    """Return one fragment: an IP header, and a part of the payload at `offset` bytes."""
    if head[0] >> 4 == 6:
        extension = struct.pack("!BBHI", head[6], 0, offset | more, identification)
        return head[:4] + struct.pack("!HB", 8 + len(part), 44) + head[7:40] + extension + part
    place = struct.pack("!HHH", 20 + len(part), identification, more << 13 | offset >> 3)
    return repaired(head[:2] + place + head[8:20] + part)


def reassembled(parts: list[bytes]) -> bytes:
    """Put fragments of one datagram together as its receiver would.

    The header checksum of the result is that of the first fragment: wrong.
    Raises AssertionError when a part is missing, comes twice or does not belong to the others.
    """
    six = parts[0][0] >> 4 == 6
    pieces: dict[int, bytes] = {}
    total = None
    heads = set()
    for part in parts:
        packet = dissect(part)
        if six:
            extension, at = packet["IPv6ExtHdrFragment"], 48
            offset, more, number = extension.offset * 8, extension.m, extension.id
        else:
            at = packet.ihl * 4
            offset, more, number = packet.frag * 8, packet.flags.MF, packet.id
            assert soundness(part).ip, "a wrong IP header checksum"
        heads.add((packet.src, packet.dst, number))
        assert offset not in pieces
        pieces[offset] = part[at:]
        if not more:
            total = offset + len(part) - at
    assert len(heads) == 1, heads
    payload = b""
    for offset in sorted(pieces):
        assert offset == len(payload), "a hole or an overlap"
        payload += pieces[offset]
    assert len(payload) == total
    first = next(part for part in parts if part_offset(part) == 0)
    if six:
        head = first[:4] + struct.pack("!HB", len(payload), first[40]) + first[7:40]
        return head + payload
    place = struct.pack("!H", 20 + len(payload)) + first[4:6] + b"\x00\x00"
    return first[:2] + place + first[8:20] + payload


def part_offset(part: bytes) -> int:
    """Return where a fragment's payload belongs, in bytes."""
    if part[0] >> 4 == 6:
        return int.from_bytes(part[42:44], "big") & 0xFFF8
    return (int.from_bytes(part[6:8], "big") & 0x1FFF) * 8
