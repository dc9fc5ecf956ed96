"""What the wire says: tcpdump's judgement of every checksum, and the switch's own counters."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

from netns_lab.lab import Lab
from netns_lab.sniff import sniff

WRONG = re.compile(r"bad (?:\w+ )?cksum|\(incorrect|wrong icmp cksum")
"""How tcpdump -vv complains of IPv4 headers, UDP and ICMPv6; of TCP; of ICMP."""
RIGHT = re.compile(r"\(correct\)|sum ok\]")
"""What it says of a TCP, UDP or ICMPv6 checksum that it found right (of ICMP: nothing)."""


@contextlib.contextmanager
def checksums_are_right(
    lab: Lab, *hosts: str, expression: str = "ip or ip6", packets: int = 4, judged: bool = True
) -> Iterator[None]:
    """Let tcpdump -vv judge what each host sees while the block runs.

    Fails if any checksum is wrong, if a host saw fewer than `packets` packets and, with `judged`,
    if not one L4 checksum was found right (the canary: someone did judge).
    """
    with contextlib.ExitStack() as stack:
        sniffers = {host: stack.enter_context(sniff(lab, host, expression)) for host in hosts}
        yield
    for host, sniffer in sniffers.items():
        argv = ["tcpdump", "-vv", "-n", "-r", str(sniffer.path)]
        text = lab.exec(host, argv, check=True).stdout
        wrong = complaints(text)
        assert not wrong, f"{host}: {wrong[0]}"
        seen = count_packets(text)
        assert seen >= packets, f"{host} saw {seen} packets"
        assert not judged or RIGHT.search(text), f"{host}: tcpdump judged nothing"


def complaints(text: str) -> list[str]:
    """Return the lines in which tcpdump calls a checksum wrong."""
    return [line for line in text.splitlines() if WRONG.search(line)]


def count_packets(text: str) -> int:
    """Return how many packets tcpdump describes: each begins a line, its details are indented."""
    return len(re.findall(r"^\d", text, re.MULTILINE))


def told(lab: Lab, host: str, pcap: object) -> str:
    """Return what tcpdump -n says of a capture file, one packet a line."""
    return lab.exec(host, ["tcpdump", "-n", "-r", str(pcap)], check=True).stdout


def reasons(lab: Lab) -> dict[str, int]:
    """Return the running switch's packets by reason, those that occurred."""
    stats = json.loads(lab.cli("show", "stats", "--json").stdout)
    return {reason: count for reason, count in stats["packets"].items() if count}
