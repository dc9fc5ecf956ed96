"""English: reasons, causes, rules and changes, for somebody who has never seen a load balancer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lb_switch.engine.events import Cause
from lb_switch.engine.servers import Rule
from lb_switch.engine.verdict import Reason

Facts = Mapping[str, Any]

SENTENCES: dict[Reason, str] = {
    Reason.NEW_CONNECTION: "not in the connection table, so a new connection",
    Reason.KNOWN_CONNECTION: "in the connection table",
    Reason.PORT_REUSE: "its ports had a connection that is over: a new one begins",
    Reason.RESCHEDULED: "its real server is out of service: another one is chosen",
    Reason.ONE_PACKET: "each datagram is scheduled on its own, whatever came before",
    Reason.FRAGMENT: "a later fragment: it has no ports and goes where the first one went",
    Reason.ICMP_ERROR: "an error about a translated packet: its quote is translated back",
    Reason.RST_OUT_OF_WINDOW: (
        "a RST whose number is not the one that its receiver waits for, as a blind attacker's"
        " would be: passed on, but the entry stays"
    ),
    Reason.ECHO_TO_VIP: "a ping to the VIP, which no machine owns: the switch answers itself",
    Reason.NO_VIRTUAL_SERVER: "no virtual server has this port of the VIP: refused",
    Reason.UNKNOWN_TCP: (
        "not in the connection table, and it does not open a connection (no SYN): refused"
    ),
    Reason.NO_REAL_SERVER: "every real server of the group is down or drained: refused",
    Reason.REAL_SERVER_DOWN: (
        "in the connection table, but its real server is out of service: the client is told, and"
        " the real server too"
    ),
    Reason.KEY_CLASH: (
        "not in the table, and its answers could not be told from those of another connection:"
        " refused"
    ),
    Reason.PORT_POOL_EXHAUSTED: (
        "full NAT has no free source port left towards this real server: refused"
    ),
    Reason.NOT_FOR_THE_SWITCH: (
        "neither to a virtual server nor of a known connection: passed on unchanged"
    ),
    Reason.UNKNOWN_ICMP_ERROR: "an error about a packet of no known connection",
    Reason.NOT_IP: "holds no IP packet",
    Reason.TRUNCATED: "shorter than its own headers claim",
    Reason.BAD_HEADER: "a header contradicts itself",
    Reason.UNSUPPORTED_PROTOCOL: "to the VIP, but neither TCP nor UDP nor an ICMP that is known",
    Reason.FORGED_SOURCE: "from an address that nobody can have who sends to the VIP: forged",
    Reason.BAD_CHECKSUM: "damaged on its way: an answer would call it sound",
    Reason.ANSWER_LIMIT: "to be answered or refused, but the limit of such answers is reached",
    Reason.ENDED_CONNECTION: (
        "from a real server, of a connection that was forgotten: its client must not see that"
        " address"
    ),
    Reason.UDP_ZERO_CHECKSUM: "UDP over IPv6 must have a checksum (RFC 8200), and this has none",
    Reason.FRAGMENT_HELD: (
        "a fragment that came before the first one, which alone has the ports: held until then"
    ),
    Reason.FRAGMENT_REFUSED: "a fragment that overlaps another one or the header: refused",
    Reason.FRAGMENT_OF_DROPPED: "the first fragment of its datagram was not forwarded",
    Reason.FRAGMENT_LIMIT: "a fragment before the first one, and no room to hold it",
    Reason.FRAGMENT_EXPIRED: "held, but the first fragment never came",
    Reason.FRAGMENTED_ICMP: "an ICMP message in fragments: only whole ones can be translated",
    Reason.HALF_OPEN_LIMIT: "this client has too many half-open connections (a flood of SYNs?)",
    Reason.TABLE_FULL: "the connection table is full",
    Reason.CUT_BY_CAPTURE: "the capture delivered only its beginning",
    Reason.INTERNAL_ERROR: "the switch made a mistake of its own: please report it",
}


def sentence(reason: str) -> str:
    """Return the sentence; the reason's own words for one that this program does not know."""
    try:
        return SENTENCES[Reason(reason)]
    except ValueError:
        return reason.replace("_", " ")


def purpose(what: str) -> str:
    """Say what the switch sends a packet for that nobody asked it for."""
    if "RST" in what:
        return "the real server is out of service, the connection is gone"
    return "its old number must be answered, and the answer tells the right number for a RST"


CAUSES: dict[Cause, str] = {
    Cause.TIMEOUT: "timeout",
    Cause.PORT_REUSE: "port reuse",
    Cause.REPLY_KEY_NEEDED: "its reply key was needed",
    Cause.TABLE_FULL: "evicted: the table is full",
    Cause.SOURCE_PORT_NEEDED: "evicted: its source port was needed",
    Cause.OUT_OF_SERVICE: "real server out of service",
    Cause.TAKEN_ANEW: "its real server took a new one on these ports",
}
"""Why a connection left the table."""


def cause(value: str) -> str:
    """Say why a connection left the table; its own words for a cause that is not known here."""
    try:
        return CAUSES[Cause(value)]
    except ValueError:
        return value.replace("_", " ")


def field_remark(name: str) -> str:
    """Return why the switch has changed a header field, where that is not for the NAT; or ""."""
    return "the switch is one hop" if name in {"time to live", "hop limit"} else ""


def maglev_leaving(gone: str, freed: int, moved: int, slots: int) -> str:
    """Return what happens to Maglev's slots when a real server leaves."""
    others = slots - freed
    share = f"{100 * moved / others:.2f} %" if others else "none"
    return (
        f"When {gone} leaves, its {freed:,} of {slots:,} slots go to others. Of the {others:,} that"
        f" need not move, {moved:,} do ({share}): their clients get another server, too"
    )


def standing(state: str, *, gone: bool, because: str) -> str:
    """Return how a connection stands: in the table or not.  `because`: in words, or ""."""
    if not gone:
        return f"It stands in the table: {state}"
    return f"It has left the table{because and f': {because}'}. Its last state: {state}"


def choice(rule: str, facts: Facts, chosen: str, name: Callable[[str], str] = str) -> str:
    """Say why a scheduler chose this real server, in a phrase that follows the server's name.

    `rule` and `facts` are those of an `Explanation`; `name` says what a real server is called.
    """
    try:
        return _RULES[Rule(rule)](facts, chosen, name)
    except (ValueError, KeyError):
        return rule.replace("_", " ")


def _turn(facts: Facts, _chosen: str, name: Callable[[str], str]) -> str:
    after = f"next after {name(facts['after'])}" if facts["after"] else "first in rotation"
    return f"{after} ({facts['position'] + 1} of {facts['usable']} usable)"


def _current_weight(facts: Facts, chosen: str, _name: Callable[[str], str]) -> str:
    return (
        f"greatest current weight {facts['current_weights'][chosen]} "
        f"({facts['weight']} of the group's {facts['total_weight']} connections are its share)"
    )


def _fewest_active(facts: Facts, chosen: str, _name: Callable[[str], str]) -> str:
    return f"fewest active connections: {facts['active'][chosen]}{_equals(facts)}"


def _fewest_per_weight(facts: Facts, chosen: str, _name: Callable[[str], str]) -> str:
    active, weight = facts["active"][chosen], facts["weights"][chosen]
    return f"fewest active connections per weight: {active} at weight {weight}{_equals(facts)}"


def _equals(facts: Facts) -> str:
    equals = facts["equals"]
    return f", its turn among {equals} equals" if equals > 1 else ""


def _hash_slot(facts: Facts, _chosen: str, _name: Callable[[str], str]) -> str:
    where = f"slot {facts['slot']} of {facts['slots']}"
    return f"hash of {facts['hash_on']} {facts['hash']} -> {where}"


def _next_instead(facts: Facts, _chosen: str, name: Callable[[str], str]) -> str:
    trouble = {
        "no_source_port": "no source port is free",
        "port_in_use": "the client's port is in use",
    }[facts["trouble"]]
    return f"next after {name(facts['instead_of'])}, towards which {trouble}"


_RULES = {
    Rule.TURN: _turn,
    Rule.CURRENT_WEIGHT: _current_weight,
    Rule.FEWEST_ACTIVE: _fewest_active,
    Rule.FEWEST_PER_WEIGHT: _fewest_per_weight,
    Rule.HASH_SLOT: _hash_slot,
    Rule.NEXT_INSTEAD: _next_instead,
}


def server_change(changed: str, finding: str, state: str, weight: int) -> str:
    """Say what has changed of a real server: its health, its state or its weight."""
    if changed == "state":
        return f"set to {state}"
    return f"weight set to {weight}" if changed == "weight" else finding


def virtual_server_change(stage: str, server: str) -> str:
    """Say what has changed of a virtual server; `server` is what the real server is called."""
    return {
        "added": "virtual server added",
        "removed": "virtual server removed",
        "changed": "virtual server changed",
        "server_added": f"real server {server} added",
        "server_removed": f"real server {server} removed",
    }.get(stage, stage.replace("_", " "))


SETTINGS_CHANGED = "other settings hold for the whole switch from now on"


_HOST = {
    "restored": "put back what was missing on the host",
    "changed": "the host has changed: the rules were made anew",
    "given_up": "others take it away again and again, it is left to them",
    "amiss": "missing on the host, and cannot be put back",
}


def host(what: str, lines: Sequence[str], most: int = 3) -> str:
    """Say what has become of the switch's part of the host.  `most` lines are named."""
    if what == "amiss" and not lines:
        return "nothing is missing on the host any more"
    named = ", ".join(lines[:most])
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return f"{_HOST[what]}{named and f': {named}'}{more}"


def losses(capture: str, counts: Mapping[str, int]) -> str:
    """Say what a capture has lost since the switch began."""
    known = {
        "overruns": "times that the kernel had no room for packets",
        "refused": "verdicts that the kernel refused",
        "write_errors": "packets that the kernel refused to take back",
        "circling": "packets that would have come back to the switch",
    }
    lost = [f"{count:,} {known.get(kind, kind)}" for kind, count in counts.items() if count]
    return f"lost by capture {capture} so far: {', '.join(lost)}"
