"""What was seen of an attack, what must hold of it, and the table.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

SERVED = 0.95
"""Of the newcomers, at least so many are served while the flood lasts."""
CONNECTION_BYTES = {"nat": 600, "full_nat": 1500}
"""What an entry of the table may cost in resident memory, the allocator's part included.  With full
NAT each has a path of its own."""
OTHER_BYTES = 24 << 20
"""What everything else may grow by: fragments that wait (4 MiB of them), packets under way."""
WAITED = 0.2
"""Share of the time that the switch may wait for a processor before the figures are in doubt."""
SHORTENED = 20.0
"""Seconds by which the time left may be less than what silence has taken: a transfer pauses, and
looking takes a while.  The shortest timeout of a closing state is far below what is left then."""


PLACES: Mapping[str, str] = MappingProxyType(
    {
        "client": "in the client's name, from the clients' side",
        "across": "in the real servers' names, from the clients' side",
        "link": "in the real servers' names, from their own link",
    }
)
"""Where a blind segment comes from, and in whose name."""


@dataclass(frozen=True)
class Attack:
    """One attack.  kind: of `floods.KINDS`, or blind with its segments and numbers.

    rate: packets a second, 0: as fast as can be; newcomers: a second, of each protocol; places:
    where blind segments come from, of PLACES.
    """

    capture: str
    forward: str
    family: int
    kind: str
    packets: int
    rate: float
    transfers: int = 1000
    idle: int = 0
    newcomers: float = 20.0
    max_connections: int = 100_000
    segments: tuple[str, ...] = ("rst", "fin", "syn", "data")
    spacing: str = "random"
    places: tuple[str, ...] = tuple(PLACES)

    @property
    def title(self) -> str:
        """What is shown of it."""
        if self.kind != "blind":
            return self.kind
        where = "" if len(self.places) == len(PLACES) else f", {'+'.join(self.places)}"
        return f"blind {'+'.join(self.segments)}, {self.spacing}{where}"


@dataclass
class Outcome:
    """What was seen.

    sent, seconds   packets that left the attackers, and in how long
    reached         packets the switch counted meanwhile, honest ones among them
    lost            packets that the kernel dropped before the switch (its queue was full)
    honest          what the honest program says
    states          TCP states of the honest connections after the attack, and how many in each
    shortened       of them, how many have less time left than silence has taken
    active          the real servers' active connections: before and after (blind attacks)
    memory          resident bytes of the switch: before, and the most since
    errors          packets on which the switch raised an exception
    busy, waited    share of the time in which the switch used a processor, and waited for one
    """

    sent: int
    seconds: float
    reached: int
    lost: int
    honest: dict[str, Any]
    memory: tuple[int, int]
    states: dict[str, int] = field(default_factory=dict)
    shortened: int = 0
    active: tuple[int, int] = (0, 0)
    errors: int = 0
    busy: float = 0.0
    waited: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)


def bound(attack: Attack, before: int) -> int:
    """Bytes that the switch may have resident at the most."""
    return before + attack.max_connections * CONNECTION_BYTES[attack.forward] + OTHER_BYTES


def share(honest: dict[str, Any], protocol: str) -> float:
    """Of those who tried, the part that was served: 0 to 1; 1 where nobody tried."""
    tried = honest["tried"].get(protocol, 0)
    return honest["served"].get(protocol, 0) / tried if tried else 1.0


def faults(attack: Attack, seen: Outcome) -> list[str]:
    """What does not hold, a line each."""
    honest = seen.honest
    lines = []
    for what, count, whole in (
        ("transfers went on, each byte right", "transfers", "transfers_whole"),
        ("idle connections answered afterwards", "idle", "idle_alive"),
    ):
        if honest[whole] != honest[count]:
            lines.append(f"only {honest[whole]} of {honest[count]} {what} ({honest['broken']})")
    for protocol in ("tcp", "udp"):
        if share(honest, protocol) < SERVED:
            lines.append(
                f"only {share(honest, protocol):.1%} of new {protocol} clients were served"
                f" ({honest['errors']})"
            )
    if seen.memory[1] > bound(attack, seen.memory[0]):
        lines.append(f"memory rose to {_mib(seen.memory[1])} MiB, over its bound")
    if seen.errors:
        lines.append(f"{seen.errors} packets made the switch raise an exception")
    if attack.kind == "blind":
        there = attack.transfers + attack.idle
        if seen.states != {"ESTABLISHED": there}:
            lines.append(f"of {there} connections the table has {seen.states}")
        if seen.shortened:
            lines.append(f"{seen.shortened} connections have less time left than they should")
        if seen.active[0] != seen.active[1]:
            lines.append(f"active connections: {seen.active[0]} before, {seen.active[1]} after")
    return lines


def doubts(seen: Outcome) -> list[str]:
    """What speaks against the figures themselves, a line each."""
    if seen.waited <= WAITED:
        return []
    waited = f"in doubt: the switch waited {seen.waited:.0%} of the time for a processor"
    return [f"{waited}; delays and what the kernel dropped say more about the machine"]


HEADINGS = (
    "capture", "forward", "IPv", "attack", "sent", "k/s", "lost", "whole", "idle", "active",
    "new tcp", "new udp", "MiB", "bound", "delay 99 %", "slowest", "CPU", "waited", "",
)  # fmt: skip


def row(attack: Attack, seen: Outcome) -> tuple[str, ...]:
    """One line of the table, as texts."""
    honest = seen.honest
    blind = attack.kind == "blind"
    return (
        attack.capture,
        attack.forward,
        str(attack.family),
        attack.title,
        f"{seen.sent:,}",
        f"{seen.sent / seen.seconds / 1000:.1f}",
        f"{seen.lost / max(1, seen.sent):.1%}",
        f"{honest['transfers_whole']}/{honest['transfers']}",
        f"{honest['idle_alive']}/{honest['idle']}",
        f"{seen.active[0]} → {seen.active[1]}" if blind else "",
        "" if blind else f"{share(honest, 'tcp'):.1%}",
        "" if blind else f"{share(honest, 'udp'):.1%}",
        _mib(seen.memory[1]),
        _mib(bound(attack, seen.memory[0])),
        f"{honest['delay_99'] * 1000:.0f} ms",
        f"{honest['delay_max'] * 1000:.0f} ms",
        f"{seen.busy:.0%}",
        f"{seen.waited:.0%}",
        "fails" if faults(attack, seen) else "holds",
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under their headings, as Markdown that is also read as it is."""
    lines = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    texts = ["| " + " | ".join(_padded(line, widths)) + " |" for line in lines]
    texts.insert(1, "| " + " | ".join("-" * max(3, width) for width in widths) + " |")
    return "\n".join(texts) + "\n"


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [text.ljust(max(3, width)) for text, width in zip(line, widths, strict=True)]


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f}"
