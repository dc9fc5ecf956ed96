"""Does the machine answer an echo request (RFC 792, RFC 4443)?

A raw socket, connected, so that the kernel hands over the messages of that address alone; where
this process may not have one, the kernel's own ping socket (icmp(7)), if `ping_group_range`
allows it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct

from lb_switch.engine.packet import icmp
from lb_switch.engine.packet.checksum import internet_checksum
from lb_switch.health.check import Target
from lb_switch.health.probes.failure import OwnTroubleError

_HEADER = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number."""
_PAYLOAD = b"lb-switch health check".ljust(56, b".")

_identifier = os.getpid() & 0xFFFF
_sequences = itertools.count(int.from_bytes(os.urandom(2), "big"))
"""All probes of this process share the identifier; the sequence number tells them apart."""


async def probe(target: Target) -> str:
    """Send one request and wait for its reply, whatever else comes.  Raises OSError."""
    version = target.ip.version
    with _open(version) as echoing:
        echoing.setblocking(False)
        echoing.connect((str(target.ip), 0))
        # The kernel puts a ping socket's own identifier in the place of ours.
        raw = echoing.type == socket.SOCK_RAW
        identifier = _identifier if raw else echoing.getsockname()[1]
        sequence = next(_sequences) & 0xFFFF
        echoing.send(echo_request(version, identifier, sequence))
        receive = asyncio.get_running_loop().sock_recv
        while True:
            message = await receive(echoing, 2048)
            if is_reply(_without_ip_header(message, version, raw), version, identifier, sequence):
                return "echo reply"
            # Receiving does not wait where something is there already.
            await asyncio.sleep(0)


def echo_request(version: int, identifier: int, sequence: int) -> bytes:
    """Return an ICMP message; for IPv6 the kernel fills in the checksum (RFC 3542, section 3.1)."""
    kind = icmp.ECHO_REQUEST if version == 4 else icmp.V6_ECHO_REQUEST
    header = _HEADER.pack(kind, 0, 0, identifier, sequence)
    checksum = internet_checksum(header + _PAYLOAD) if version == 4 else 0
    return _HEADER.pack(kind, 0, checksum, identifier, sequence) + _PAYLOAD


def is_reply(message: bytes, version: int, identifier: int, sequence: int) -> bool:
    """Whether an ICMP message is the reply to the request with these numbers."""
    if len(message) < _HEADER.size:
        return False
    kind, code, _, *numbers = _HEADER.unpack_from(message)
    wanted = icmp.ECHO_REPLY if version == 4 else icmp.V6_ECHO_REPLY
    return (kind, code) == (wanted, 0) and numbers == [identifier, sequence]


def _open(version: int) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP)
        if version == 4
        else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    try:
        return socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError:
        pass
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError as error:
        raise OwnTroubleError(error.errno, error.strerror) from None


def _without_ip_header(message: bytes, version: int, raw: bool) -> bytes:
    """Only raw IPv4 sockets deliver the IP header too (raw(7))."""
    return message[(message[0] & 15) * 4 :] if raw and version == 4 and message else message
