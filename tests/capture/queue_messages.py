"""The kernel's side of a packet queue's socket: what it sends and how it reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

PACKET, VERDICT = 0x300, 0x301
PREROUTING, POSTROUTING = 0, 4
MARK, INDEV, OUTDEV, HWADDR, PAYLOAD, SKB_INFO, CAP_LEN = 3, 5, 6, 9, 10, 14, 15


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


INDEV_2 = attribute(INDEV, struct.pack("!I", 2))
HARDWARE = attribute(HWADDR, bytes.fromhex("0006000002000000000a0000"))


def packet_message(
    packet: bytes,
    packet_id: int = 1,
    hook: int = PREROUTING,
    others: bytes = INDEV_2 + HARDWARE,
    queue: int = 100,
) -> bytes:
    header = attribute(1, struct.pack("!IHB", packet_id, 0x0800, hook))
    # As in the kernel, what comes last is not padded.
    payload = struct.pack("=HH", 4 + len(packet), PAYLOAD) + packet
    return message(PACKET, header + others + payload, queue)


def message(kind: int, body: bytes, queue: int = 100) -> bytes:
    generic = struct.pack("=BB", 0, 0) + struct.pack("!H", queue)
    return struct.pack("=IHHII", 20 + len(body), kind, 0, 0, 0) + generic + body


def acknowledgement(error: int = 0) -> bytes:
    """NLMSG_ERROR, with the header of the request it is about."""
    return struct.pack("=IHHIIi16x", 36, 2, 0, 0, 0, -error)


class Answer(NamedTuple):
    """A verdict as the kernel reads it; packet: None if it goes on as it came."""

    queue: int
    packet_id: int
    verdict: int
    packet: bytes | None


def answers(datagram: bytes) -> Iterator[Answer]:
    """Read verdicts as `netlink_rcv_skb` and `nfqnl_recv_verdict` do."""
    while datagram:
        length, kind, flags = struct.unpack_from("=IHH", datagram)
        assert kind == VERDICT
        assert flags & 1, "the kernel ignores what is no request"
        assert 20 <= length <= len(datagram)
        (queue,) = struct.unpack_from("!H", datagram, 18)
        attributes = dict(_attributes(datagram[20:length]))
        verdict, packet_id = struct.unpack("!II", attributes.pop(2))
        yield Answer(queue, packet_id, verdict, attributes.pop(PAYLOAD, None))
        assert not attributes
        datagram = datagram[length + 3 & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        assert 4 <= length <= len(data)
        yield kind, data[4:length]
        data = data[length + 3 & ~3 :]
