"""The IPv6 header (RFC 8200, section 3) and the numbers of its extension headers (section 4)."""

from __future__ import annotations

from lb_switch.engine.packet.view import Field, HeaderView

HEADER_LENGTH = 40

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
DESTINATION_OPTIONS = 60

EXTENSION_HEADERS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS})
"""Those a packet is read through to its transport header."""
MAX_EXTENSION_HEADERS = 8
"""Nobody has use for more (RFC 8504, section 5.3, lets a node set such a limit), and a packet of
64 KiB could hold 8,000 to be walked through."""


class IPv6Header(HeaderView):
    """A view of an IPv6 header.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+---------------+---------------------------------------+
    |version| traffic class |              flow label               |
    +-------+---------------+-------+---------------+---------------+
    |        payload length         |  next header  |   hop limit   |
    +-------------------------------+---------------+---------------+
    |                   source address (16 bytes)                   |
    |                 destination address (16 bytes)                |
    +---------------------------------------------------------------+

    It has no checksum of its own.
    """

    __slots__ = ()

    version_class_label = Field[int](0, "I")
    payload_length = Field[int](4, "H")
    next_header = Field[int](6, "B")
    hop_limit = Field[int](7, "B")
    source = Field[bytes](8, "16s")
    destination = Field[bytes](24, "16s")

    @property
    def version(self) -> int:
        """6, if this is an IPv6 header."""
        return self.version_class_label >> 28
