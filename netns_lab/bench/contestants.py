"""Who takes part: what is set up on the switch and what program runs there.  Pure.

Every contestant gets the same lab, the same servers, the same kernel settings and the same
addresses to serve; what differs is here and in `configurations/`.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from netns_lab.bench.topology import SERVERS, VIP, rips

CONFIGURATIONS = Path(__file__).parent / "configurations"

Command = tuple[str, ...]
Kind = Literal["none", "kernel", "proxy", "ours"]


@dataclass(frozen=True)
class Contestant:
    """One way to balance.

    kind      none: nothing between client and server; kernel: rules without a process; proxy: a
              program that ends connections; ours: `lb-switch run` with the capture of that name
    target    the address the client connects to
    program   the command line, with $configuration for the filled-in file; empty: no program
    template  the file in `configurations/`; empty: none
    needs     programs that must be on the machine
    udp       whether it balances UDP
    """

    name: str
    title: str
    kind: Kind
    target: str = VIP
    program: Command = ()
    template: str = ""
    needs: tuple[str, ...] = ()
    udp: bool = True

    @property
    def vip_is_local(self) -> bool:
        """Whether the switch's namespace must own the VIP: ours answer for it themselves."""
        return self.kind in {"kernel", "proxy"}


DIRECT = Contestant("direct", "no balancer (routed)", "none", target=rips()[0])
DNAT = Contestant(
    "kernel-dnat",
    "kernel DNAT (iptables)",
    "kernel",
    template="kernel-dnat.rules",
    program=("iptables-restore", "$configuration"),
    needs=("iptables-restore",),
)
HAPROXY = Contestant(
    "haproxy",
    "HAProxy, tcp mode, 1 thread",
    "proxy",
    template="haproxy.cfg",
    program=("haproxy", "-db", "-f", "$configuration"),
    needs=("haproxy",),
    udp=False,
)
NGINX = Contestant(
    "nginx-stream",
    "nginx stream, 1 worker",
    "proxy",
    template="nginx-stream.conf",
    program=("nginx", "-c", "$configuration"),
    needs=("nginx",),
)
TUN = Contestant("tun", "lb-switch, tun", "ours")
NFQUEUE = Contestant("nfqueue", "lb-switch, nfqueue", "ours", needs=("iptables",))

CONTESTANTS: Mapping[str, Contestant] = MappingProxyType(
    {each.name: each for each in (DIRECT, DNAT, HAPROXY, NGINX, TUN, NFQUEUE)}
)
"""By name, in the order in which they are shown."""

REFERENCE = HAPROXY.name
"""Ratios are to this one."""


def filled_in(template: str, directory: Path, **extra: str) -> str:
    """The text of a file in `configurations/` for this lab.  Raises KeyError for a wrong name."""
    text = (CONFIGURATIONS / template).read_text(encoding="utf-8")
    servers = dict(zip(SERVERS, rips(), strict=True))
    return string.Template(text).substitute(vip=VIP, directory=str(directory), **servers, **extra)


def command_line(contestant: Contestant, configuration: Path) -> list[str]:
    """The contestant's program with its configuration."""
    return [each.replace("$configuration", str(configuration)) for each in contestant.program]


def kernel_settings() -> list[str]:
    """`name=value` for sysctl: the same in every namespace of every lab."""
    text = (CONFIGURATIONS / "sysctl.conf").read_text(encoding="utf-8")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return ["=".join(part.strip() for part in line.split("=", 1)) for line in lines if line]
