"""Flow keys: the bytes that name one direction of a conversation.

A flow key is source address + destination address + source port + destination port in network
order: 12 bytes for IPv4, 36 for IPv6, which tells the two apart.  In a packet without IP options
or extension headers the key stands in the headers as one slice, so making it costs one copy.
The protocol is kept beside it (TCP and UDP have tables of their own).
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from lb_switch.engine.packet.endpoint import Endpoint


class FlowKey(NamedTuple):
    """The four parts of a flow key, as packed bytes."""

    source: bytes
    destination: bytes
    source_port: bytes
    destination_port: bytes

    @classmethod
    def of(cls, key: bytes) -> FlowKey:
        """Take a key apart."""
        n = (len(key) - 4) // 2
        return cls(key[:n], key[n : 2 * n], key[-4:-2], key[-2:])

    def pack(self) -> bytes:
        """Put it together again."""
        return self.source + self.destination + self.source_port + self.destination_port


def source_address(key: bytes) -> bytes:
    """Return the packed address that the packets of this key come from."""
    return key[: (len(key) - 4) // 2]


def reverse(key: bytes) -> bytes:
    """Return the key of the packets that answer."""
    n = (len(key) - 4) // 2
    return key[n : 2 * n] + key[:n] + key[-2:] + key[-4:-2]


def source_endpoint(key: bytes) -> Endpoint:
    """Return where the packets of this key come from."""
    n = (len(key) - 4) // 2
    return Endpoint(ipaddress.ip_address(key[:n]), int.from_bytes(key[-4:-2], "big"))


def destination_endpoint(key: bytes) -> Endpoint:
    """Return where the packets of this key go to."""
    n = (len(key) - 4) // 2
    return Endpoint(ipaddress.ip_address(key[n : 2 * n]), int.from_bytes(key[-2:], "big"))


def pack_endpoint(endpoint: Endpoint) -> tuple[bytes, bytes]:
    """Return an endpoint's address (4 or 16 bytes) and port (2 bytes) in network order."""
    return endpoint.ip.packed, endpoint.port.to_bytes(2, "big")
