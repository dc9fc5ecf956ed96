"""The attacker's program: packets at a rate, out of the host's only interface.

    python -m netns_lab.attack.sender <plan.json

One JSON object on stdin says what to send (`Plan`), one on stdout what was sent.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from random import Random

from netns_lab.attack import blind, floods
from netns_lab.attack.blind import Ends, Numbers
from netns_lab.attack.burst import BURST, BurstSocket
from netns_lab.attack.floods import Flood, Target
from netns_lab.plan import HOST_INTERFACE

_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


@dataclass
class Plan:
    """What to send.  Addresses are text.

    router    MAC address of the gateway
    packets   how many; rate: of them a second, 0: as fast as can be
    kind      of flood; empty: blind segments in the names of `ends`, each (from, port, to, port)
    target    the fields of `floods.Target`
    """

    router: str
    packets: int
    rate: float
    seed: int = 1
    kind: str = ""
    target: dict[str, str | int | list[str]] = field(default_factory=dict)
    ends: list[tuple[str, int, str, int]] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    spacing: Numbers = "random"

    def stream(self) -> Iterator[bytes]:
        """The packets, without their Ethernet header."""
        numbers = Random(self.seed)  # noqa: S311 - a repeatable attack, not a secret
        if self.kind:
            flood: Flood = floods.KINDS[self.kind](_target(self.target), numbers)
            return itertools.islice(flood, self.packets)
        ends = [
            Ends(
                ip_address(source).packed,
                ip_address(destination).packed,
                from_port.to_bytes(2, "big") + to_port.to_bytes(2, "big"),
            )
            for source, from_port, destination, to_port in self.ends
        ]
        return blind.segments(ends, self.segments, self.packets, self.spacing, numbers)


def _target(fields: dict[str, str | int | list[str]]) -> Target:
    def packed(name: str) -> bytes:
        text = str(fields[name])
        return ip_address(text).packed if text else b""

    servers = fields["real_servers"]
    assert isinstance(servers, list)
    return Target(
        vip=packed("vip"),
        tcp=int(str(fields["tcp"])),
        udp=int(str(fields["udp"])),
        void=int(str(fields["void"])),
        real_servers=tuple(ip_address(each).packed for each in servers),
        replies_to=packed("replies_to"),
        forged=bytes.fromhex(str(fields["forged"])),
        client=packed("client"),
    )


def send(plan: Plan) -> dict[str, float]:
    """Send it all; return how many packets went out, and in how many seconds."""
    own = Path(f"/sys/class/net/{HOST_INTERFACE}/address").read_text(encoding="ascii")
    addresses = bytes.fromhex((plan.router + own).replace(":", "").strip().replace("\n", ""))
    out = BurstSocket(HOST_INTERFACE)
    packets = plan.stream()
    clock, sleep = time.monotonic, time.sleep
    headers = {version << 4: addresses + kind for version, kind in _ETHERTYPES.items()}
    sent = taken = 0
    start = clock()
    while packets_now := [
        headers[each[0] & 0xF0] + each for each in itertools.islice(packets, BURST)
    ]:
        taken += out.send(packets_now)
        sent += len(packets_now)
        if plan.rate:
            ahead = start + sent / plan.rate - clock()
            if ahead > 0:
                sleep(ahead)
    out.close()
    return {"packets": sent, "taken": taken, "seconds": clock() - start}


def main() -> int:
    """Read the plan, send, tell."""
    plan = Plan(**json.load(sys.stdin))
    sys.stdout.write(json.dumps(send(plan)) + "\n")
    return 0


def as_json(plan: Plan) -> str:
    """The plan as the program reads it."""
    return json.dumps(dataclasses.asdict(plan))


if __name__ == "__main__":
    sys.exit(main())
