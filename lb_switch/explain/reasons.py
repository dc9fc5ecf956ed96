"""What each reason means, in a sentence for somebody who has never seen a load balancer."""

from __future__ import annotations

from lb_switch.engine.verdict import Reason

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
