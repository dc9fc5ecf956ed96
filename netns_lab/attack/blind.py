"""Segments in the names of two ends, by somebody who sees neither.  Pure.

The attacker knows addresses and ports, which is the worst case, and no sequence number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Literal, NamedTuple

from netns_lab.attack import headers
from netns_lab.attack.headers import ACK, FIN, PSH, RST, SYN

Numbers = Literal["random", "spaced"]

SEGMENTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "rst": (RST, RST | ACK),
        "fin": (FIN | ACK, FIN),
        "syn": (SYN, SYN | ACK),
        "data": (ACK | PSH, ACK),
    }
)
"""The flags of each kind of segment, in turn."""
_DATA = b"not said by any of them."
_SPACE = 1 << 32


class Ends(NamedTuple):
    """Whose name is on a segment, and whom it goes to.  ports: both, packed."""

    source: bytes
    destination: bytes
    ports: bytes


def segments(
    ends: Sequence[Ends],
    kinds: Sequence[str],
    packets: int,
    spacing: Numbers,
    numbers: Random,
) -> Iterator[bytes]:
    """`packets` IP packets, spread evenly over ends and kinds.

    spaced: those of one kind to one end go once through the whole sequence space, in even steps;
    random: every number is as likely as another.
    """
    flags = [each for kind in kinds for each in SEGMENTS[kind]]
    pattern = [(end, each) for each in flags for end in ends]
    rounds = max(1, packets // len(pattern))
    start = numbers.getrandbits(32)
    for count in range(packets):
        turn, place = divmod(count, len(pattern))
        (source, destination, ports), flag = pattern[place]
        if spacing == "spaced":
            sequence = (start + turn * _SPACE // rounds) % _SPACE
        else:
            sequence = numbers.getrandbits(32)
        acked = numbers.getrandbits(32) if flag & ACK else 0
        payload = _DATA if flag & PSH else b""
        yield headers.tcp(source, destination, ports, flag, sequence, acked, payload)
