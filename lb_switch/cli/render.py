"""Tables and lines for people, JSON for programs.  The layouts are those of `ipvsadm`.

Input are the rows of the control protocol (see `lb_switch.control.verbs`).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lb_switch.config.schema import Config

Row = Mapping[str, Any]

FORWARD = {"nat": "Masq", "full_nat": "FullNAT"}
"""ipvsadm's word for it: masquerading."""


def as_json(value: object, indent: int | None = None) -> str:
    """Return a JSON document."""
    return json.dumps(value, indent=indent, ensure_ascii=False)


def json_array(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a JSON array, one row in each, as the rows come."""
    line = ""
    for row in rows:
        if line:
            yield f"{line},"
        line = f"{' ' if line else '['}{as_json(row)}"
    yield f"{line}]" if line else "[]"


def virtual_servers(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of `ipvsadm -Ln`; a real server that gets no new connection says why.

    The word is the row's last one, after ipvsadm's columns: a state (drain, maint), down, or both.
    """
    yield "Prot LocalAddress:Port Scheduler Flags"
    yield "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn"
    for row in rows:
        yield f"{row['protocol'].upper()}  {row['address']} {row['scheduler']}{_flags(row)}"
        for server in row["real_servers"]:
            forward = FORWARD.get(server["forward"], server["forward"])
            yield (
                f"  -> {server['address']:<28} {forward:<7} {server['weight']:<6}"
                f" {server['active']:<10} {server['inactive']:<9} {_out_of_rotation(server)}"
            ).rstrip()


def _out_of_rotation(server: Row) -> str:
    """Return why a real server gets no new connection, "" if it does."""
    words = [] if server["state"] == "ready" else [server["state"]]
    return " ".join(words if server["healthy"] else [*words, "down"])


def _flags(row: Row) -> str:
    """Return ipvsadm's words for a virtual server's options, each after a space."""
    flags = ""
    if row["persistence_timeout"]:
        flags += f" persistent {row['persistence_timeout']:g}"
        # As ipvsadm: the mask of IPv4, the length of IPv6's prefix.
        if bits := row["persistence_prefix"]:
            is_ipv4 = not row["address"].startswith("[")
            flags += f" mask {ipaddress.ip_network((0, bits)).netmask if is_ipv4 else bits}"
    return f"{flags} ops" if row["one_packet"] else flags


def connections(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of `ipvsadm -Lnc`."""
    yield "pro expire state       source             virtual            destination"
    for row in rows:
        minutes, seconds = divmod(int(row["expire"]), 60)
        yield (
            f"{row['protocol'].upper():<3} {minutes:02}:{seconds:02}  {row['state']:<11}"
            f" {row['source']:<18} {row['virtual']:<18} {row['destination']}"
        )


def traffic(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of `ipvsadm -Ln --stats`: totals since the start."""
    yield "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes"
    yield "  -> RemoteAddress:Port"
    yield from _five_columns((row, [totals(rs) for rs in row["real_servers"]]) for row in rows)


def rates(before: Iterable[Row], after: Iterable[Row], seconds: float) -> Iterator[str]:
    """Yield the lines of `ipvsadm -Ln --rate`: per second, between two looks."""
    yield "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS"
    yield "  -> RemoteAddress:Port"
    yield from _five_columns(
        (row, [[round(n / seconds) for n in grown] for grown in growth])
        for row, growth in _growth(before, after)
    )


def rates_as_rows(
    before: Iterable[Row], after: Iterable[Row], seconds: float
) -> list[dict[str, Any]]:
    """Return per second what `rates` shows, in the shape of the rows that it is made from."""
    return [
        {
            "name": row["name"],
            "address": row["address"],
            "protocol": row["protocol"],
            "real_servers": [
                {
                    "address": server["address"],
                    "connections": grown[0] / seconds,
                    "to_server": {"packets": grown[1] / seconds, "bytes": grown[3] / seconds},
                    "to_client": {"packets": grown[2] / seconds, "bytes": grown[4] / seconds},
                }
                for server, grown in zip(row["real_servers"], growth, strict=True)
            ],
        }
        for row, growth in _growth(before, after)
    ]


def totals(server: Row) -> list[int]:
    """Return connections, packets in and out, bytes in and out of a real server."""
    inward, outward = server["to_server"], server["to_client"]
    return [
        server["connections"],
        inward["packets"],
        outward["packets"],
        inward["bytes"],
        outward["bytes"],
    ]


def _growth(before: Iterable[Row], after: Iterable[Row]) -> Iterator[tuple[Row, list[list[int]]]]:
    """Yield each virtual server with how much each real server's totals grew."""
    old = {
        (row["name"], server["address"]): totals(server)
        for row in before
        for server in row["real_servers"]
    }
    for row in after:
        growth = []
        for server in row["real_servers"]:
            new = totals(server)
            base = old.get((row["name"], server["address"]), new)
            growth.append([max(0, n - b) for n, b in zip(new, base, strict=True)])
        yield row, growth


def _five_columns(rows: Iterable[tuple[Row, list[list[int]]]]) -> Iterator[str]:
    for row, numbers in rows:
        name = f"{row['protocol'].upper()}  {row['address']}"
        sums = [sum(column) for column in zip(*numbers, strict=True)] or [0] * 5
        yield f"{name:<33}{''.join(map(large, sums))}"
        for server, own in zip(row["real_servers"], numbers, strict=True):
            yield f"  -> {server['address']:<28}{''.join(map(large, own))}"


def large(number: int) -> str:
    """Return a number in nine columns, as ipvsadm shortens it (K, M, G, T: powers of 1,000)."""
    for limit, unit, letter in (
        (100_000_000, 1, ""),
        (1_000_000_000, 1_000, "K"),
        (100_000_000_000, 1_000_000, "M"),
        (100_000_000_000_000, 1_000_000_000, "G"),
    ):
        if number < limit:
            return f"{number // unit}{letter}".rjust(9)
    return f"{number // 1_000_000_000_000}T".rjust(9)


def counters(stats: Row) -> Iterator[str]:
    """Yield the connection table's size, what the capture lost, and the packets by reason."""
    yield (
        f"Connections {stats['connections']} of {stats['max_connections']} at most,"
        f" {stats['half_open']} half-open"
    )
    lost = [f"{kind} {count}" for kind, count in stats.get("capture", {}).items() if count]
    if lost:
        yield f"Capture     {', '.join(lost)}"
    yield from reasons(stats["packets"])


def reasons(packets: Mapping[str, int]) -> Iterator[str]:
    """Yield packets by reason, those that occurred, most frequent first."""
    occurred = sorted((-count, reason) for reason, count in packets.items() if count)
    yield f"Packets     {sum(packets.values())}"
    for count, reason in occurred:
        yield f"  {-count:>12}  {reason}"


def extent(config: Config) -> str:
    """Say how large a configuration is."""
    servers = sum(len(entry.real_server) for entry in config.virtual_server)
    virtual = _count(len(config.virtual_server), "virtual server")
    return f"{virtual}, {_count(servers, 'real server')}"


def serving(config: Config, capture: str) -> str:
    """Say in one line what a switch serves, when it has begun to."""
    services = ", ".join(
        f"{entry.name} {entry.address} ({entry.scheduler},"
        f" {_count(len(entry.real_server), 'real server')})"
        for entry in config.virtual_server
    )
    return f"lb-switch: serving {services or 'nothing yet'} through {capture}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def replay_line(result: Row) -> str:
    """Return a packet of a replay as one line."""
    what = " ".join(
        str(result[key])
        for key in ("virtual_server", "direction", "real_server", "state")
        if result[key] is not None
    )
    return f"{result['n']:>6}  {result['verdict']:<7}  {result['reason']:<20}  {what}".rstrip()


def finding(found: Row) -> str:
    """Return one line of doctor."""
    mark = "ok" if found["ok"] else "MISSING" if found["needed"] else "without"
    detail = f": {found['detail']}" if found["detail"] else ""
    fix = "" if found["ok"] or not found["fix"] else f" [fix: {found['fix']}]"
    return f"{mark:<8} {found['what']}{detail}{fix}"


def diagnosis(lacking: int, capture: str) -> str:
    """Return doctor's last line."""
    if lacking:
        return f"{_count(lacking, 'thing')} missing for `lb-switch run` with capture {capture}"
    return f"all that `lb-switch run` needs with capture {capture} is here"
