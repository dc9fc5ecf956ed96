"""The UDP header (RFC 768)."""

from __future__ import annotations

from lb_switch.engine.packet.view import Field, HeaderView

HEADER_LENGTH = 8


class UDPHeader(HeaderView):
    """A view of a UDP header: ports, length (header and payload), checksum (0: none)."""

    __slots__ = ()

    source_port = Field[int](0, "H")
    destination_port = Field[int](2, "H")
    length = Field[int](4, "H")
    checksum = Field[int](6, "H")
