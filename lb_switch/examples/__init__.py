"""A configuration, a capture and a recording to try everything offline with, at once.

The capture is what a switch with this configuration receives, and `python -m lb_switch.examples
FILE` makes it.  The recording is what the switch tells about it, as `lb-switch replay --example
--record FILE` writes it.  The tests prove that both are what this version makes.

The other recordings were made in the lab, by `scripts/recordings`: one small thing each.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
CONFIG = FOLDER / "example.toml"
CAPTURE = FOLDER / "example.pcap"
RECORDING = FOLDER / "example.jsonl"

RECORDINGS = {
    "example": "requests, questions, a ping: of IPv4 and IPv6, from a capture file",
    "transfer": "two requests and a download: what happens to each packet",
    "failover": "a server dies, leaves its group, and comes back",
    "drain": "a server is drained while a download from it goes on",
    "one-arm": "clients and servers in one subnet: full NAT",
    "path-mtu": "a narrow link: the router's ICMP error goes back through the NAT",
    "syn-flood": "a flood from forged addresses fills the table",
}
"""The recordings that come with lb-switch, and what they show."""


def recording(name: str) -> Path:
    """Return the file of one of RECORDINGS."""
    return RECORDING if name == "example" else FOLDER / "recordings" / f"{name}.jsonl"
