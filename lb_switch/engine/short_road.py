"""The short road: an ordinary packet of a known connection, all in a single function.

One unpack reads every field that matters, the flow key among them; one dict lookup finds the
connection; the translation's data go in by slice assignment and its deltas mend the checksums.
Nothing is allocated that outlives the call, no view or property is touched, and an enum only
compared by identity: this is the one place where the code is written for the interpreter first.
A handshake's segments and a FIN, which may change the connection's state, pass by the tracker on
their way (`tcp_tracking`).  Whatever is in the least unusual (options, fragments, a
client's SYN, RST, odd lengths) is left to the readable road.
"""

from __future__ import annotations

import struct

from lb_switch.engine.connections.connection import HALVES, Connection
from lb_switch.engine.connections.table import SHARD_MASK, SHARD_SHIFT, ConnectionTable
from lb_switch.engine.connections.tcp_state import REUSABLE, State
from lb_switch.engine.connections.unsettled import CUT
from lb_switch.engine.nat.identification import Identifications
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.tally import TO_CLIENT, TO_SERVER
from lb_switch.engine.tcp_tracking import TCPTracker

_MIN_IPV4 = 40
"""IPv4 and TCP headers.  Shorter UDP datagrams take the readable road."""
_MIN_IPV6 = 60

# total length, flags and fragment offset, protocol, header checksum, flow key (addresses and
# ports are neighbours when there are no options), then the halves of TCP's acknowledgement number,
# data offset with flags, and checksum.
_IPV4_TCP = struct.Struct("!2xH2xHxBH12s4xHHH2xH").unpack_from
_IPV6_TCP = struct.Struct("!4xHBx36s4xHHH2xH").unpack_from
# UDP length and checksum
_UDP = struct.Struct("!HH").unpack_from
_PUT = struct.Struct("!H").pack_into

_HALVES, _TO_SERVER, _TO_CLIENT = HALVES, TO_SERVER, TO_CLIENT
_NOT_WHOLE = 0x3FFF  # more fragments, or a fragment offset
_DONT_FRAGMENT = 0x4000
_RST_ACK = 0x0014
_ACK = 0x0010
_SYN = 0x0002
_SYN_FIN = 0x0003
_MIN_DATA_OFFSET = 0x5000
_LONGEST_HEADERS = 120  # IP and TCP headers with all options: no data offset can lie beyond


class ShortRoad:
    """Handles what it can of the packets of a connection table.

    `old_state` is written when a packet may change the state of its connection.
    """

    __slots__ = ("_follow", "_renew", "_tcp_shards", "_udp_shards", "old_state", "packets")

    def __init__(
        self,
        connections: ConnectionTable,
        tracker: TCPTracker,
        identifications: Identifications,
    ) -> None:
        self._follow = tracker.follow
        self._renew = identifications.renew_ipv4
        self._tcp_shards = connections.shards[TCP]
        self._udp_shards = connections.shards[UDP]
        self.packets = 0
        self.old_state: State | None = None

    def take(
        self, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Connection | None:
        """Rewrite the packet and return its connection, or touch nothing and return None."""
        if length < _MIN_IPV4:
            return None
        version_ihl = buffer[start]
        if version_ihl == 0x45:
            (
                total,
                fragment,
                protocol,
                ip_checksum,
                key,
                ack_high,
                ack_low,
                offset_flags,
                l4_checksum,
            ) = _IPV4_TCP(buffer, start)
            if total > length or fragment & _NOT_WHOLE:
                return None
            l4 = start + 20
        elif version_ihl >> 4 == 6 and length >= _MIN_IPV6:
            total, protocol, key, ack_high, ack_low, offset_flags, l4_checksum = _IPV6_TCP(
                buffer, start
            )
            total += 40
            if total > length:
                return None
            l4 = start + 40
            ip_checksum = -1
        else:
            return None

        if protocol == 6:
            if offset_flags & _RST_ACK != _ACK or offset_flags < _MIN_DATA_OFFSET:
                return None
            if total < _LONGEST_HEADERS and l4 - start + (offset_flags >> 10 & 0x3C) > total:
                return None
            connection = self._tcp_shards[hash(key) >> SHARD_SHIFT & SHARD_MASK].get(key)
            if connection is None:
                return None
            turns = offset_flags & _SYN_FIN or connection.unsettled is not None
            checksum_at = l4 + 16
        elif protocol == 17:
            udp_length, l4_checksum = _UDP(buffer, l4 + 4)
            if udp_length < 8 or l4 - start + udp_length > total:
                return None
            connection = self._udp_shards[hash(key) >> SHARD_SHIFT & SHARD_MASK].get(key)
            if connection is None or (l4_checksum == 0 and ip_checksum < 0 and not partial):
                return None
            turns = False
            checksum_at = l4 + 6
        else:
            return None

        path = connection.path
        real_server = path.real_server
        if key == connection.original_key:
            if real_server.severed:
                return None
            if turns:
                if offset_flags & _SYN or connection.unsettled is CUT:
                    return None
                self.old_state = connection.state
                self._follow(connection, True, buffer, l4, start + total, now, partial)
            elif protocol == 6:
                connection.acked_by_client_high = _HALVES[ack_high]
                connection.acked_by_client_low = _HALVES[ack_low]
            translation = path.to_server
            counted = _TO_SERVER[total]
        else:
            if turns:
                if connection.unsettled is CUT or (
                    offset_flags & _SYN and connection.state in REUSABLE
                ):
                    return None
                self.old_state = connection.state
                self._follow(connection, False, buffer, l4, start + total, now, partial)
            elif protocol == 6:
                connection.acked_by_server_high = _HALVES[ack_high]
                connection.acked_by_server_low = _HALVES[ack_low]
            translation = path.to_client
            counted = _TO_CLIENT[total]
        connection.tally += counted
        real_server.tally += counted
        connection.last_seen = now
        self.packets += 1

        buffer[start + translation.addresses_at : start + translation.addresses_end] = (
            translation.addresses
        )
        if translation.ports:
            buffer[l4 + translation.ports_at : l4 + translation.ports_end] = translation.ports
        if ip_checksum >= 0:
            mended = (ip_checksum ^ 0xFFFF) + translation.ip_delta
            if not fragment & _DONT_FRAGMENT:
                mended += self._renew(buffer, start, protocol, total)
                mended = (mended & 0xFFFF) + (mended >> 16)
            _PUT(buffer, start + 10, ((mended & 0xFFFF) + (mended >> 16)) ^ 0xFFFF)
        if partial:
            mended = l4_checksum + translation.partial_delta
            _PUT(buffer, checksum_at, (mended & 0xFFFF) + (mended >> 16))
        elif protocol == 6:
            mended = (l4_checksum ^ 0xFFFF) + translation.l4_delta
            _PUT(buffer, checksum_at, ((mended & 0xFFFF) + (mended >> 16)) ^ 0xFFFF)
        elif l4_checksum:
            mended = (l4_checksum ^ 0xFFFF) + translation.l4_delta
            _PUT(buffer, checksum_at, ((mended & 0xFFFF) + (mended >> 16)) ^ 0xFFFF or 0xFFFF)
        return connection
