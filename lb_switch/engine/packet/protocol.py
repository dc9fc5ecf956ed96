"""The protocol numbers that the switch knows (RFC 5237: the IANA registry)."""

from __future__ import annotations

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

PROTOCOL_NAMES = {TCP: "tcp", UDP: "udp"}
"""The protocols that are balanced, as configuration and output call them."""
