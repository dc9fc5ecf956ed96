"""Would the host's firewall let through what the switch forwards?

Docker, ufw and firewalld let chain FORWARD drop whatever nobody allows.  Health checks do not meet
it (they go out by OUTPUT), so every server is up while no client gets through.  Here a new
connection of each kind is put through the rules, as `iptables -S` lists them.  What a rule asks
for beyond addresses, interfaces and the protocol cannot be known from here: such a rule may match,
and no verdict is given behind it, unless it is about connections that exist already.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.host.error import HostError
from lb_switch.host.plan import IPTABLES
from lb_switch.host.run import run

_TERMINAL = frozenset({"ACCEPT", "DROP", "REJECT", "RETURN"})
_EXISTING = re.compile(
    r"(--ctstate|--state) (RELATED|ESTABLISHED|INVALID)(,(RELATED|ESTABLISHED))*$"
)
_COMMENT = re.compile(r'-m comment --comment ("(\\.|[^"\\])*"|\S+)')
_HARMLESS = frozenset({"LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "AUDIT", "TRACE"})


class Passing(NamedTuple):
    """A packet as chain FORWARD meets it.  None: any, that is not known."""

    incoming: str | None
    outgoing: str | None
    source: IPAddress | None
    destination: IPAddress | None
    protocol: str


class Chains(NamedTuple):
    """The rules by chain, without `-A CHAIN`, and the policies of built-in chains."""

    rules: Mapping[str, Sequence[str]]
    policies: Mapping[str, str]


def read(version: int) -> Chains:
    """Read the filter table of an IP version; empty where there is none."""
    try:
        return parse(run((IPTABLES[version], "-w", "-S")).splitlines())
    except HostError:
        return Chains({}, {})


def parse(lines: Iterable[str]) -> Chains:
    """Read what `iptables -S` prints."""
    rules: dict[str, list[str]] = {}
    policies: dict[str, str] = {}
    for line in lines:
        command, chain, *rest = line.split(" ", 2)
        if command == "-P":
            policies[chain] = rest[0]
        elif command == "-N":
            rules.setdefault(chain, [])
        elif command == "-A":
            rules.setdefault(chain, []).append(rest[0] if rest else "")
    return Chains(rules, policies)


def what_drops(chains: Chains, packet: Passing) -> str:
    """Return the rule or policy that drops a new connection's packet for certain; "" if none."""
    try:
        found = _walk(chains, "FORWARD", packet, 0)
    except _UnknownError:
        return ""
    if found is None:
        policy = chains.policies.get("FORWARD", "ACCEPT")
        return "" if policy == "ACCEPT" else f"-P FORWARD {policy}"
    return "" if found.endswith("ACCEPT") else found


class _UnknownError(Exception):
    """A rule may match, and decides."""


def _walk(chains: Chains, chain: str, packet: Passing, depth: int) -> str | None:
    """Return the rule that decides; None: the end of the chain was reached."""
    if depth > 20:
        raise _UnknownError
    for rule in chains.rules.get(chain, ()):
        target = _target(rule)
        matches = _matches(rule, packet)
        if matches is False or target in _HARMLESS or not target:
            continue
        if matches is None:
            raise _UnknownError
        if target == "RETURN":
            return None
        if target in _TERMINAL:
            return f"-A {chain} {rule.split(' --reject-with')[0]}"
        if target not in chains.rules:
            raise _UnknownError
        found = _walk(chains, target, packet, depth + 1)
        if found is not None:
            return found
    return None


def _target(rule: str) -> str:
    found = re.search(r"(?:^| )(?:-j|-g) (\S+)", rule)
    return found[1] if found else ""


def _matches(rule: str, packet: Passing) -> bool | None:
    """Whether a rule matches; None: that cannot be told."""
    condition = _COMMENT.sub("", re.split(r"(?:^| )(?:-j|-g) ", rule)[0]).strip()
    if _EXISTING.search(condition):
        return False  # a new connection is none of these
    verdict: bool | None = True
    words = condition.split()
    at = 0
    while at < len(words):
        negated = words[at] == "!"
        at += negated
        option, value = words[at], words[at + 1] if at + 1 < len(words) else ""
        at += 2
        one = _option(option, value, packet)
        if one is not None and one == negated:
            return False
        if one is None:
            verdict = None
    return verdict


def _option(option: str, value: str, packet: Passing) -> bool | None:
    match option:
        case "-i":
            return _interface(value, packet.incoming)
        case "-o":
            return _interface(value, packet.outgoing)
        case "-s":
            return _network(value, packet.source)
        case "-d":
            return _network(value, packet.destination)
        case "-p":
            return value in {packet.protocol, "all"}
    return None


def _interface(value: str, name: str | None) -> bool | None:
    if name is None:
        return None
    return name.startswith(value[:-1]) if value.endswith("+") else name == value


def _network(value: str, ip: IPAddress | None) -> bool | None:
    if ip is None:
        return None
    try:
        return ip in ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def ways(
    device: str,
    clients: str | None,
    servers: str | None,
    vip: IPAddress,
    rip: IPAddress,
    protocol: str,
) -> Iterator[Passing]:
    """Yield how a connection's packets pass FORWARD: to the real server, and back.

    `device`: the TUN device, through which they pass twice; "" with nfqueue, which rewrites them
    before they are routed, and behind FORWARD on the way back.
    """
    if device:
        yield Passing(clients, device, None, vip, protocol)
        yield Passing(device, servers, None, rip, protocol)
        yield Passing(servers, device, rip, None, protocol)
        yield Passing(device, clients, vip, None, protocol)
    else:
        yield Passing(clients, servers, None, rip, protocol)
        yield Passing(servers, clients, rip, None, protocol)
