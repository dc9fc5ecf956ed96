"""The TCP header (RFC 9293, section 3.1)."""

from __future__ import annotations

from lb_switch.engine.packet.view import Field, HeaderView

MIN_LENGTH = 20

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10


class TCPHeader(HeaderView):
    """A view of a TCP header.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          source port          |       destination port        |
    +-------------------------------+-------------------------------+
    |                        sequence number                        |
    |                    acknowledgement number                     |
    +-------+-------+---------------+-------------------------------+
    |d.offs.|reservd|     flags     |            window             |
    +-------+-------+---------------+-------------------------------+
    |           checksum            |        urgent pointer         |
    +-------------------------------+-------------------------------+
    """

    __slots__ = ()

    source_port = Field[int](0, "H")
    destination_port = Field[int](2, "H")
    sequence = Field[int](4, "I")
    acknowledgement = Field[int](8, "I")
    offset_byte = Field[int](12, "B")
    flags = Field[int](13, "B")
    window = Field[int](14, "H")
    checksum = Field[int](16, "H")
    urgent = Field[int](18, "H")

    @property
    def header_length(self) -> int:
        """In bytes: 20, or up to 60 with options."""
        return (self.offset_byte >> 4) * 4
