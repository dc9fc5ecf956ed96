"""Attack a switch in a lab and see what holds.

    sudo scripts/attack                                     # every attack of the defaults
    sudo scripts/attack --kind syn --packets 2000000 --capture nfqueue --forward full_nat
    sudo scripts/attack --kind blind --segments rst --numbers spaced --family 6

Each attack has a lab of its own.  Exit code 1 if something did not hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from netns_lab.attack import report
from netns_lab.attack.arena import Arena
from netns_lab.attack.blind import SEGMENTS
from netns_lab.attack.floods import KINDS
from netns_lab.attack.report import PLACES, Attack, Outcome
from netns_lab.errors import LabError

BLIND = "blind"
PACKETS = 2_000_000
BLIND_PACKETS = 1_000_000
RATES: Mapping[str, float] = MappingProxyType(
    {
        "syn": 15_000,
        "handshake": 18_000,
        "ack": 18_000,
        "udp": 15_000,
        "udp-void": 20_000,
        "fragments": 20_000,
        "icmp": 30_000,
        "mixed": 18_000,
        BLIND: 25_000,
    }
)
"""Packets a second.  With these, and what they are answered with, `nfqueue` is busy for some 70 %
of its time on two processors that also carry attacker, clients and servers.  What comes faster, the
kernel drops in front of the switch, honest packets among it: no balancer can help that."""
BOUNDS: Mapping[str, int] = MappingProxyType({"nat": 100_000, "full_nat": 200_000})
"""The table's.  A flood fills it in seconds; with full NAT it is larger than the ports of both real
servers, which so run out first."""


def attacks(options: argparse.Namespace) -> list[Attack]:
    """The attacks that the command line asks for, in order."""
    chosen = []
    for capture in options.capture or ("tun", "nfqueue"):
        for forward in options.forward or ("nat", "full_nat"):
            for family in options.family or (4, 6):
                for kind in options.kind or (*KINDS, BLIND):
                    blind = kind == BLIND
                    chosen.append(
                        Attack(
                            capture,
                            forward,
                            family,
                            kind,
                            options.packets or (BLIND_PACKETS if blind else PACKETS),
                            RATES[kind] if options.rate is None else options.rate,
                            transfers=options.transfers or (100 if blind else 1000),
                            idle=100 if blind else 0,
                            newcomers=options.newcomers,
                            max_connections=options.max_connections or BOUNDS[forward],
                            segments=tuple(options.segments or SEGMENTS),
                            spacing=options.numbers,
                            places=tuple(options.place or PLACES),
                        )
                    )
    return chosen


def run(attack: Attack, *, check_invariants: bool = False) -> tuple[Outcome, list[str]]:
    """Carry out one attack; what was seen, and what does not hold.  Raises LabError.

    check_invariants: the switch checks its own state now and then, and ends if it is wrong.
    """
    with Arena(attack, check_invariants=check_invariants) as arena:
        seen = arena.run()
    return seen, report.faults(attack, seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attacks; a line for each, then the table of those that came to their end."""
    options = _parser().parse_args(arguments)
    chosen = attacks(options)
    rows: list[tuple[str, ...]] = []
    documents: list[dict[str, Any]] = []
    failed = False
    try:
        for number, attack in enumerate(chosen, 1):
            place = f"[{number}/{len(chosen)}]"
            where = f"{attack.capture} {attack.forward} IPv{attack.family} {attack.title}"
            start = time.monotonic()
            try:
                seen, faults = run(attack)
            except LabError as error:
                failed = True
                _say(f"{place} {where}: {error}")
                continue
            verdict = f"{'fails' if faults else 'holds'}, {time.monotonic() - start:.0f} s"
            _say(f"{place} {where}: {verdict}, {_digest(seen)}")
            for fault in faults:
                failed = True
                _say(f"    {fault}")
            for doubt in report.doubts(seen):
                _say(f"    {doubt}")
            rows.append(report.row(attack, seen))
            documents.append({**dataclasses.asdict(attack), **dataclasses.asdict(seen)})
            if options.json is not None:
                options.json.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        failed = True
    sys.stdout.write(report.table(rows))
    return int(failed)


def _digest(seen: Outcome) -> str:
    reasons = sorted(seen.reasons.items(), key=lambda each: -each[1])
    said = ", ".join(f"{name} {count:,}" for name, count in reasons[:6])
    return (
        f"{seen.sent / seen.seconds / 1000:.1f} k/s; {seen.reached:,} packets reached the switch,"
        f" the kernel dropped {seen.lost:,}; {said}"
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/attack",
        description="Attack a switch in a lab; what is not given means all of it.",
    )
    add = parser.add_argument
    add("--capture", action="append", choices=["tun", "nfqueue"])
    add("--forward", action="append", choices=["nat", "full_nat"])
    add("--family", action="append", type=int, choices=[4, 6])
    add("--kind", action="append", choices=[*KINDS, BLIND])
    add("--packets", type=int, help=f"of each attack ({PACKETS}; blind ones: {BLIND_PACKETS})")
    rates = ", ".join(f"{kind} {rate:g}" for kind, rate in RATES.items())
    add("--rate", type=float, help=f"packets a second ({rates}); 0: no limit")
    add("--segments", action="append", choices=list(SEGMENTS), help="of a blind attack")
    add("--numbers", choices=["random", "spaced"], default="random", help="of a blind attack")
    places = "; ".join(f"{name}: {where}" for name, where in PLACES.items())
    add("--place", action="append", choices=list(PLACES), help=f"of blind segments; {places}")
    add("--transfers", type=int, help="connections that exchange data all the time")
    add("--newcomers", type=float, default=20.0, help="a second, of TCP and of UDP each")
    bounds = ", ".join(f"{forward} {bound}" for forward, bound in BOUNDS.items())
    add("--max-connections", type=int, help=f"the table's bound ({bounds})")
    add("--json", type=Path, metavar="FILE", help="write there all that was seen")
    return parser


if __name__ == "__main__":
    sys.exit(main())
