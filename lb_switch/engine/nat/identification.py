"""New identifications for translated datagrams that may be cut into fragments.

A receiver puts fragments together by source, destination, protocol and identification (RFC 791,
section 3.2; RFC 8200, section 4.5).  Whoever sends chose an identification of which it knew that
it is unique between the addresses that *it* used.  After translation many senders have one
address: clients behind one full-NAT address, real servers behind one VIP.  Two of their datagrams
with the same identification would be mixed up, so the switch chooses anew for all (RFC 7857,
section 10): from a counter for each pair of addresses and protocol, as they are on the wire behind
the switch.

A datagram that cannot be cut keeps what it has (RFC 6864, section 4.1: nobody may look at it):
IPv4 with "don't fragment", not a fragment itself; IPv6 without a fragment header.

Nobody outside may know the next number, nor learn from it how much goes to somebody else (RFC
7739): a counter begins at a place that a secret decides, and pairs share it only by chance.  There
is no random number here: the same secret and the same packets give the same identifications.
"""

from __future__ import annotations

import hashlib
import struct

from lb_switch.engine.packet import checksum, ipv4
from lb_switch.engine.packet.ipv4 import IPv4Header
from lb_switch.engine.packet.parse import Packet
from lb_switch.engine.packet.protocol import TCP

_COUNTERS = 4096
"""More pairs than that share counters: no harm but that each comes round sooner."""
_IPV4_IDENTIFICATION = IPv4Header.identification.offset
DONT_FRAGMENT = ipv4.DONT_FRAGMENT >> 8
"""The bit in the seventh byte of an IPv4 header."""
_SEGMENT_SHIFT = 9
"""A capture may hand over many TCP segments as one, and the kernel numbers them on from ours: one
is set aside for every 512 bytes."""


class Identifications:
    """Counters of identifications, by source, destination and protocol."""

    __slots__ = ("_counters", "_prototype")

    def __init__(self, secret: bytes = b"") -> None:
        """`secret` is what the places depend on: at most 64 bytes count."""
        key = secret[:64]
        begin = hashlib.shake_256(b"identifications" + key).digest(4 * _COUNTERS)
        self._counters: list[int] = list(struct.unpack(f"!{_COUNTERS}I", begin))
        # A copy of one that has its key takes half the time of a new one.
        self._prototype = hashlib.blake2b(digest_size=2, key=key)

    def next(self, addresses: bytes, protocol: int, length: int) -> int:
        """Return the next one from source to destination.

        `addresses` are both, 8 or 32 bytes; `length` is that of the IP packet in bytes.  Cut off
        the number at 16 bits for IPv4, at 32 for IPv6.
        """
        state = self._prototype.copy()
        state.update(addresses)
        place = (int.from_bytes(state.digest(), "big") ^ protocol) % _COUNTERS
        number = self._counters[place]
        self._counters[place] = number + 1 + (length >> _SEGMENT_SHIFT if protocol == TCP else 0)
        return number

    def renew_ipv4(self, buffer: bytearray, start: int, protocol: int, length: int) -> int:
        """Write a new one into the IPv4 header at `start`, whose addresses are translated already.

        Returns the change of the header checksum, 16 bits (`packet.checksum`).
        """
        at = start + _IPV4_IDENTIFICATION
        number = self.next(bytes(buffer[start + 12 : start + 20]), protocol, length) & 0xFFFF
        change = (buffer[at] << 8 | buffer[at + 1]) ^ 0xFFFF
        buffer[at], buffer[at + 1] = number >> 8, number & 0xFF
        change += number
        return (change & 0xFFFF) + (change >> 16)

    def renew(self, packet: Packet) -> None:
        """Give a translated packet that may be cut, or a first fragment, a new one."""
        length = packet.end - packet.start
        if packet.version == 6:
            number = self.next(packet.source + packet.destination, packet.protocol, length)
            put(packet, number & 0xFFFFFFFF)
        else:
            header = IPv4Header(packet.buffer, packet.start)
            change = self.renew_ipv4(packet.buffer, packet.start, packet.protocol, length)
            header.header_checksum = checksum.update(header.header_checksum, change)


def get(packet: Packet) -> int:
    """Return the identification of a fragment: 16 bits, or 32 for IPv6."""
    at, size = _place(packet)
    return int.from_bytes(packet.buffer[at : at + size], "big")


def put(packet: Packet, identification: int) -> None:
    """Write it into a fragment, and mend the IPv4 header checksum."""
    at, size = _place(packet)
    new = identification.to_bytes(size, "big")
    if packet.version == 4:
        header = IPv4Header(packet.buffer, packet.start)
        change = checksum.delta(bytes(packet.buffer[at : at + size]), new)
        header.header_checksum = checksum.update(header.header_checksum, change)
    packet.buffer[at : at + size] = new


def _place(packet: Packet) -> tuple[int, int]:
    """Where a fragment's identification is, and how many bytes it has."""
    if packet.version == 4:
        return packet.start + _IPV4_IDENTIFICATION, 2
    assert packet.fragment is not None
    return packet.fragment.start - 4, 4
