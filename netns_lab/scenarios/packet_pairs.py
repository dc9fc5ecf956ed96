"""The same packet on both sides of the switch: matched, compared, laid side by side.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from netns_lab.sniff import Seen
from netns_lab.topologies import IPAddress, endpoint

NAME, LEFT = 16, 24
"""Columns for a packet's name and for the client's side."""


@dataclass(frozen=True)
class Pair:
    """One packet as the client's wire and as the server's wire carried it."""

    at_client: Seen
    at_server: Seen
    to_server: bool

    @property
    def name(self) -> str:
        """`SYN`, `SYN/ACK`, `FIN/ACK` ..., or the first line (or length) of what it carries."""
        if payload := self.at_client.payload:
            first_line = payload.partition(b"\r\n")[0]
            if len(first_line) <= NAME and first_line.isascii():
                return first_line.decode()
            return f"{len(payload)} bytes"
        return "/".join(self.at_client.flags)


def pair_up(at_client: Iterable[Seen], at_server: Iterable[Seen], client: IPAddress) -> list[Pair]:
    """Match what both sides saw of one connection, in the client's order.

    A packet is known by what no NAT may touch: direction, sequence number, flags, payload.
    Packets that only one side saw are left out; the caller compares the counts.
    """
    waiting = list(at_server)
    pairs = []
    for here in at_client:
        for there in waiting:
            if _fingerprint(here, client) == _fingerprint(there, client):
                waiting.remove(there)
                pairs.append(Pair(here, there, to_server=here.source == client))
                break
    return pairs


def _fingerprint(packet: Seen, client: IPAddress) -> tuple[object, ...]:
    return (packet.source == client, packet.sequence, packet.flags, packet.payload)


FIELDS: Sequence[tuple[str, Callable[[Seen], str]]] = (
    ("source", lambda seen: endpoint(seen.source, seen.source_port)),
    ("destination", lambda seen: endpoint(seen.destination, seen.destination_port)),
    ("sequence number", lambda seen: str(seen.sequence)),
    ("TTL", lambda seen: str(seen.ttl)),
    ("IP checksum", lambda seen: _checksum(seen.ip_checksum, seen.ip_checksum_ok)),
    ("TCP checksum", lambda seen: _checksum(seen.l4_checksum, seen.l4_checksum_ok)),
)


def _checksum(value: int | None, is_right: bool) -> str:
    if value is None:
        return "none"
    return f"0x{value:04x} {'right' if is_right else 'WRONG'}"


def changed_fields(pair: Pair) -> list[str]:
    """The names of the fields that differ between the two sides."""
    return [name for name, text in FIELDS if text(pair.at_client) != text(pair.at_server)]


def side_by_side(pair: Pair, client: str, server: str, mark: Callable[[str], str]) -> list[str]:
    """The packet's fields in two columns; `mark` paints the ones that the switch has changed."""
    arrow = "-->" if pair.to_server else "<--"
    on_client, on_server = f"on {client}'s wire", f"on {server}'s wire"
    lines = [f"{arrow} {pair.name:<{NAME}}{on_client:<{LEFT}}    {on_server}"]
    for name, text in FIELDS:
        left, right = text(pair.at_client), text(pair.at_server)
        if left == right:
            lines.append(f"    {name:<{NAME}}{left:<{LEFT}}    {right}")
        else:
            sign = "=>" if pair.to_server else "<="
            lines.append(f"    {name:<{NAME}}{left:<{LEFT}} {mark(sign)} {mark(right)}")
    return lines


def ladder(pairs: Iterable[Pair]) -> list[str]:
    """One line per packet: where to, or where from, on either wire."""
    lines = []
    for pair in pairs:
        arrow = "-->" if pair.to_server else "<--"
        far_ends = [_far_end(seen, pair.to_server) for seen in (pair.at_client, pair.at_server)]
        lines.append(f"{arrow} {pair.name:<{NAME}}{far_ends[0]:<{LEFT}}    {far_ends[1]}")
    return lines


def _far_end(seen: Seen, to_server: bool) -> str:
    if to_server:
        return f"to   {endpoint(seen.destination, seen.destination_port)}"
    return f"from {endpoint(seen.source, seen.source_port)}"
