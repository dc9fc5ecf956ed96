"""A packet in a few words: from whom, to whom, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lb_switch.explain.dissect import Layer, dissect

_LONGEST_LINE = 30


class Summary(NamedTuple):
    """Source and destination are endpoints, or addresses where there are no ports."""

    source: str
    destination: str
    what: str
    """`TCP SYN`, `UDP, 12 bytes of data`, `ICMP echo request` and so on."""
    short: str
    """The same as briefly as can be: `SYN`, `"GET / HTTP/1.1"`, `12 bytes`."""


def summarise(data: bytes, length: int) -> Summary:
    """Describe an IP packet of `length` bytes that begins with `data`."""
    layers = dissect(data)
    own = [layer for layer in layers if not layer.quoted]
    if not own or not own[0].is_ip:
        return Summary("?", "?", f"no readable IP packet, {length} bytes", "unreadable")
    ip, l4 = own[0], _l4(own)
    fragment = _fragment(own)
    source, destination = _ends(ip, l4)
    if l4 is None:
        protocol = ip.text("protocol" if ip.name == "IPv4" else "next header")
        what = fragment or f"protocol {protocol}"
        short = what.rpartition(", ")[0].replace("fragment from byte ", "fragment at ")
        return Summary(source, destination, what, what if not fragment else short)
    payload = max(0, _total(ip, length) - l4.end)
    what, short = _said(l4, data, payload)
    if l4.name.startswith("ICMP"):
        what += _about(layers)
    if fragment:
        what += f", {fragment}"
    return Summary(source, destination, what, short)


def is_group_membership(data: bytes) -> bool:
    """Whether an IP packet only tells of multicast groups, as kernels do of themselves.

    MLD (RFC 2710, RFC 9777: ICMPv6 types 130, 131, 132 and 143) or IGMP (protocol 2).
    """
    if len(data) < 20 or data[0] >> 4 == 4:
        return len(data) >= 20 and data[9] == _IGMP
    if data[0] >> 4 != 6 or data[24:25] != b"\xff":  # looked at first, as few packets go on
        return False
    l4 = _l4([layer for layer in dissect(data) if not layer.quoted])
    return l4 is not None and l4.name == "ICMPv6" and data[l4.start] in _MLD


_IGMP = 2
_MLD = {130, 131, 132, 143}


def _l4(own: Sequence[Layer]) -> Layer | None:
    return next((each for each in own if each.name in {"TCP", "UDP", "ICMP", "ICMPv6"}), None)


def _ends(ip: Layer, l4: Layer | None) -> tuple[str, str]:
    source, destination = ip.text("source"), ip.text("destination")
    if l4 is None or l4.find("source port") is None or l4.find("destination port") is None:
        return source, destination
    if ip.name == "IPv6":
        source, destination = f"[{source}]", f"[{destination}]"
    return f"{source}:{l4.text('source port')}", f"{destination}:{l4.text('destination port')}"


def _total(ip: Layer, length: int) -> int:
    if ip.name == "IPv4":
        return min(length, ip.value("total length"))
    return min(length, 40 + ip.value("payload length"))


def _said(l4: Layer, data: bytes, payload: int) -> tuple[str, str]:
    """Return what a TCP, UDP or ICMP packet says, at length and briefly."""
    carried = f"{payload:,} byte{'' if payload == 1 else 's'}"
    line = _first_line(data[l4.end :]) if payload else ""
    quoted = f'"{line}"' if line else ""
    if l4.name == "TCP":
        flags = l4.text("flags")
        what = f"TCP {flags}" + (f", {carried} of data" if payload else "")
        return what + (f": {quoted}" if quoted else ""), quoted or (
            f"{flags}, {carried}" if payload else flags
        )
    if l4.name == "UDP":
        what = f"UDP, {carried} of data"
        return what + (f": {quoted}" if quoted else ""), quoted or carried
    kind = l4.text("type")
    if kind == "destination unreachable":
        kind = _UNREACHABLE[l4.name].get(l4.value("code"), kind)
    return f"{l4.name} {kind}", kind


_UNREACHABLE = {
    "ICMP": {
        0: "network unreachable",
        1: "host unreachable",
        2: "protocol unreachable",
        3: "port unreachable",
        4: "fragmentation needed",
        13: "administratively prohibited",
    },
    "ICMPv6": {
        0: "no route",
        1: "administratively prohibited",
        3: "address unreachable",
        4: "port unreachable",
    },
}


def _about(layers: Sequence[Layer]) -> str:
    """Say which packet an ICMP error quotes."""
    quoted = [layer for layer in layers if layer.quoted]
    if not quoted or not quoted[0].is_ip:
        return ""
    source, destination = _ends(quoted[0], _l4(quoted))
    return f" about a packet {source} to {destination}"


def _fragment(own: Sequence[Layer]) -> str:
    for layer in own:
        if layer.find("fragment offset") is not None:
            offset, more = layer.value("fragment offset"), "MF" in layer.text("flags")
            if offset or more:
                return f"fragment from byte {offset:,}" + (
                    ", more follow" if more else ", the last"
                )
    return ""


def _first_line(payload: bytes) -> str:
    """Return the first line of a payload that looks like text, shortened; else ""."""
    line = payload.partition(b"\n")[0].rstrip(b"\r")[: _LONGEST_LINE + 1]
    if len(line) < 4 or not all(32 <= byte < 127 for byte in line):
        return ""
    text = line.decode("ascii")
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 3] + "..."
