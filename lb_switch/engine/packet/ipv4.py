"""The IPv4 header (RFC 791, section 3.1)."""

from __future__ import annotations

from lb_switch.engine.packet import checksum
from lb_switch.engine.packet.view import Field, HeaderView

MIN_LENGTH = 20
MORE_FRAGMENTS = 0x2000
DONT_FRAGMENT = 0x4000
OFFSET_MASK = 0x1FFF


class IPv4Header(HeaderView):
    """A view of an IPv4 header.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+---------------+-------------------------------+
    |version|  IHL  |      TOS      |         total length          |
    +-------+-------+---------------+-----+-------------------------+
    |        identification         |flags|     fragment offset     |
    +---------------+---------------+-----+-------------------------+
    |      TTL      |   protocol    |        header checksum        |
    +---------------+---------------+-------------------------------+
    |                        source address                         |
    |                      destination address                      |
    +---------------------------------------------------------------+
    """

    __slots__ = ()

    version_ihl = Field[int](0, "B")
    tos = Field[int](1, "B")
    total_length = Field[int](2, "H")
    identification = Field[int](4, "H")
    flags_and_offset = Field[int](6, "H")
    ttl = Field[int](8, "B")
    protocol = Field[int](9, "B")
    header_checksum = Field[int](10, "H")
    source = Field[bytes](12, "4s")
    destination = Field[bytes](16, "4s")

    @property
    def version(self) -> int:
        """4, if this is an IPv4 header."""
        return self.version_ihl >> 4

    @property
    def header_length(self) -> int:
        """In bytes: 20, or up to 60 with options."""
        return (self.version_ihl & 0x0F) * 4

    @property
    def fragment_offset(self) -> int:
        """In bytes."""
        return (self.flags_and_offset & OFFSET_MASK) * 8

    def recompute_checksum(self) -> None:
        """Compute the header checksum from nothing: for packets the switch makes itself."""
        self.header_checksum = 0
        stop = self.start + self.header_length
        self.header_checksum = checksum.internet_checksum(self.buffer[self.start : stop])
