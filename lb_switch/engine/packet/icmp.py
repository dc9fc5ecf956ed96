"""ICMP (RFC 792) and ICMPv6 (RFC 4443): the common first eight bytes."""

from __future__ import annotations

from lb_switch.engine.packet.view import Field, HeaderView

HEADER_LENGTH = 8

# ICMP types (RFC 792)
ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
# codes of DESTINATION_UNREACHABLE
PORT_UNREACHABLE = 3

# ICMPv6 types (RFC 4443)
V6_DESTINATION_UNREACHABLE = 1
V6_PACKET_TOO_BIG = 2
V6_TIME_EXCEEDED = 3
V6_PARAMETER_PROBLEM = 4
V6_ECHO_REQUEST = 128
V6_ECHO_REPLY = 129
# codes of V6_DESTINATION_UNREACHABLE
V6_PORT_UNREACHABLE = 4

ERROR_TYPES = frozenset({DESTINATION_UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM})
V6_ERROR_TYPES = frozenset(
    {
        V6_DESTINATION_UNREACHABLE,
        V6_PACKET_TOO_BIG,
        V6_TIME_EXCEEDED,
        V6_PARAMETER_PROBLEM,
    }
)
V6_NEIGHBOUR_TYPES = frozenset(range(133, 138))
"""Neighbour discovery (RFC 4861): router and neighbour solicitations and their kin."""


class ICMPHeader(HeaderView):
    """A view of an ICMP or ICMPv6 header; `rest` means what type and code say."""

    __slots__ = ()

    type = Field[int](0, "B")
    code = Field[int](1, "B")
    checksum = Field[int](2, "H")
    rest = Field[int](4, "I")
    """Echo: identifier and sequence number.  Errors: unused, or the next-hop MTU."""
