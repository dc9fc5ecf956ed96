"""What the switch decides about a packet: an action and exactly one reason.

The reasons are a closed list.  Counters, `replay --json`, explanations, tests and the README all
speak in these words, so a packet never disappears without one of them being counted.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Action(enum.Enum):
    """What is done with the captured packet."""

    FORWARD = "forward"
    """It was rewritten in place and goes back on its way."""
    REPLY = "reply"
    """The switch answers itself: the captured packet is dropped, `Verdict.packets` are sent."""
    PASS = "pass"
    """It is none of the switch's business and goes on unchanged."""
    DROP = "drop"
    """It ends here."""


class Reason(enum.Enum):
    """Why.  Grouped by the action that each usually comes with."""

    # forward
    NEW_CONNECTION = "new_connection"
    """The first packet of a connection: a real server was chosen."""
    KNOWN_CONNECTION = "known_connection"
    """A packet of a connection in the table, in either direction."""
    PORT_REUSE = "port_reuse"
    """A SYN on an entry in TIME_WAIT or CLOSE: scheduled anew."""
    RESCHEDULED = "rescheduled"
    """Its real server is out of service: a SYN, or a datagram, went to another one."""
    ONE_PACKET = "one_packet"
    """A datagram scheduled on its own, without regard to those before it."""
    FRAGMENT = "fragment"
    """A later fragment, which went where the first one had gone."""
    ICMP_ERROR = "icmp_error"
    """An error about a packet of a known connection, translated inside and out."""
    RST_OUT_OF_WINDOW = "rst_out_of_window"
    """A RST whose number is not what the other side acknowledged: forwarded, but it changes no
    state (unless the other side later acknowledges exactly so far)."""

    # reply
    ECHO_TO_VIP = "echo_to_vip"
    """An ICMP echo request to a VIP, answered by the switch."""
    NO_VIRTUAL_SERVER = "no_virtual_server"
    """Sent to a VIP, but to a port that no virtual server has: RST or port unreachable."""
    UNKNOWN_TCP = "unknown_tcp"
    """Neither a SYN nor part of a known connection: RST (or dropped, by option)."""
    NO_REAL_SERVER = "no_real_server"
    """Every real server of the group is down or drained: RST or port unreachable."""
    REAL_SERVER_DOWN = "real_server_down"
    """The connection's real server went out of service: RST to the client, and the real server is
    told as well."""

    KEY_CLASH = "key_clash"
    """The reply flow key of the new connection belongs to another connection already."""
    PORT_POOL_EXHAUSTED = "port_pool_exhausted"
    """Full NAT: every source port towards this real server is in use."""

    # pass
    NOT_FOR_THE_SWITCH = "not_for_the_switch"
    """Neither to a VIP nor of a known connection."""
    UNKNOWN_ICMP_ERROR = "unknown_icmp_error"
    """An error about a packet of no known connection.  (To a VIP: dropped.)"""
    NOT_IP = "not_ip"
    """A frame of a capture file that holds no IP packet (ARP, for example)."""

    # drop
    TRUNCATED = "truncated"
    """Shorter than its own headers claim."""
    BAD_HEADER = "bad_header"
    """A header contradicts itself (version, header length, data offset, lengths)."""
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    """To a VIP, but neither TCP nor UDP nor an ICMP message the switch handles."""
    FORGED_SOURCE = "forged_source"
    """Sent to a VIP from an address that can be nobody's there: a VIP itself, an unspecified,
    loopback, multicast, reserved or IPv4-mapped one, or this machine's own (RFC 1122, section
    3.2.1.3).  Answering would start a loop, reach the switch itself or hit many."""
    BAD_CHECKSUM = "bad_checksum"
    """To be answered or refused, but it was damaged on its way: an answer would call it sound."""
    ANSWER_LIMIT = "answer_limit"
    """To be answered or refused, but so many were that the switch says nothing for the moment."""
    ENDED_CONNECTION = "ended_connection"
    """From a real server, of a connection that the switch has forgotten before it was closed: the
    client must not see the real server's address."""
    UDP_ZERO_CHECKSUM = "udp_zero_checksum"
    """UDP over IPv6 without a checksum, which RFC 8200, section 8.1, forbids."""
    FRAGMENT_HELD = "fragment_held"
    """It came before the first fragment: held until that one decides, or time is up."""
    FRAGMENT_REFUSED = "fragment_refused"
    """It overlaps another fragment or the TCP header, or goes beyond 65,535 bytes."""
    FRAGMENT_OF_DROPPED = "fragment_of_dropped"
    """The first fragment of its datagram was not forwarded."""
    FRAGMENT_LIMIT = "fragment_limit"
    """No room to hold it until the first fragment comes."""
    FRAGMENT_EXPIRED = "fragment_expired"
    """Held, and the first fragment never came while there was room to wait for it.  (Counted
    besides its `fragment_held`.)"""
    FRAGMENTED_ICMP = "fragmented_icmp"
    """An ICMP message in fragments: the switch answers and translates only whole ones."""
    HALF_OPEN_LIMIT = "half_open_limit"
    """A SYN of a source address that has too many half-open connections already."""
    TABLE_FULL = "table_full"
    """The connection table is at its bound and holds nothing that may be evicted."""
    CUT_BY_CAPTURE = "cut_by_capture"
    """The capture delivered only the beginning of the packet."""
    INTERNAL_ERROR = "internal_error"
    """The switch raised an exception while it handled the packet: a bug, counted and survived."""


class Verdict(NamedTuple):
    """Action, reason, and packets to send besides.

    `packets` are whole IP packets with complete checksums: the switch's own answers, or packets
    that were held back and are released by this one.  They may accompany any action.
    """

    action: Action
    reason: Reason
    packets: tuple[bytes, ...] = ()
