"""The packet queue's messages, read and answered where they lie in a buffer.  Sans-I/O.

The layouts are those of linux/netlink.h, linux/netfilter/nfnetlink.h and
linux/netfilter/nfnetlink_queue.h.  Numbers of netlink are in the machine's byte order, those that
netfilter adds in the network's; everything begins at a multiple of 4 bytes.  A packet comes as

    nlmsghdr (16)  nfgenmsg (4)  PACKET_HDR (4 + 8)  other attributes  PAYLOAD (4 + packet)

and goes back, once it is rewritten, as

    nlmsghdr (16)  nfgenmsg (4)  VERDICT_HDR (4 + 8)  PAYLOAD (4 + packet)

What stands before the packet is never longer in the answer than in the question: the answer is
written over the question, and the packet is not copied.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ACCEPT, DROP = struct.pack("!I", 1), struct.pack("!I", 0)
"""NF_ACCEPT and NF_DROP of linux/netfilter.h."""

PLAIN_VERDICT = 32
"""Bytes of a verdict without a packet; a question is never shorter."""
BEFORE_PACKET = 36
"""Bytes of a verdict before the packet it carries."""

_ACKNOWLEDGEMENT = 2
"""NLMSG_ERROR: also what says that there was none."""
_CONFIG, _PACKET, _VERDICT = 3 << 8 | 2, 3 << 8, 3 << 8 | 1
"""NFNL_SUBSYS_QUEUE and NFQNL_MSG_CONFIG, NFQNL_MSG_PACKET, NFQNL_MSG_VERDICT."""
_REQUEST, _ACKNOWLEDGE = 1, 4
"""NLM_F_REQUEST, NLM_F_ACK."""
_PACKET_HDR, _PAYLOAD, _SKB_INFO, _CAP_LEN = 1, 10, 14, 15
"""Attributes of a packet.  CAP_LEN, its true length, is there only if PAYLOAD is less."""
PARTIAL, MERGED = 1, 2
"""Bits of SKB_INFO, NFQA_SKB_CSUMNOTREADY: the L4 checksum field holds the sum of the pseudo-header
only, and NFQA_SKB_GSO: the packet stands for several that the kernel will cut it into."""
_VERDICT_HDR = 2
_PARAMS, _MASK, _FLAGS = 2, 4, 5
"""Attributes of a configuration."""
_COPY_PACKET, _MERGED_TOO = 2, 4
"""Mode in which packets are sent with their contents; NFQA_CFG_F_GSO, to get them uncut."""

_PACKET_HDR_LENGTH = 11
"""Its fields are packet_id (4), hw_protocol (2) and hook (1)."""
_SKB_INFO_LENGTH = 8
_HOOK, _ATTRIBUTES = 30, 32
"""Where in a message with a packet the hook is, and the attributes after PACKET_HDR."""
_TYPE = 0x3FFF
"""NLA_TYPE_MASK: the upper two bits of an attribute's type are flags."""

_ATTRIBUTE = struct.Struct("=HH")
_PREFIX = "=IH14xHH4s2xBx"
"""Length and type of a message, length, type, packet_id and hook of PACKET_HDR."""
_FIRST = struct.Struct(_PREFIX)
_PLAIN = struct.Struct("=IHH8x2x2sHH4s4s")
_WITH_PACKET = struct.Struct("=IHH8x2x2sHH4s4sHH")


class QueuedPacket(NamedTuple):
    """A queued packet: where it is, and what its verdict has to name.

    packet_id   the queue's number for it, 4 bytes in network order
    hook        where it was captured: NF_INET_PRE_ROUTING, ... of linux/netfilter.h
    start, end  the IP packet is buffer[start:end]; empty if the message holds none
    cut         whether that is not all of it
    info        PARTIAL and MERGED, as far as they are true
    """

    packet_id: bytes
    hook: int
    start: int
    end: int
    cut: bool
    info: int


class _Layout:
    """Messages with attributes of the same types and sizes in the same order before the packet.

    `shape`: length and type of each between PACKET_HDR and PAYLOAD, in turn.
    """

    def __init__(self, shape: list[int]) -> None:
        body = "".join(f"HH{aligned(length) - 4}x" for length in shape[::2])
        whole = struct.Struct(f"{_PREFIX}{body}HH")
        self.unpack_from = whole.unpack_from
        self.shape = shape
        self.size = whole.size
        """Bytes before the packet."""
        self.cut = _CAP_LEN in shape[1::2]
        self.info = 0
        """Where the bits of SKB_INFO are; 0 if there are none."""
        at = _ATTRIBUTES
        for length, kind in zip(shape[::2], shape[1::2], strict=True):
            if kind == _SKB_INFO and length == _SKB_INFO_LENGTH:
                self.info = at + length - 1
            at += aligned(length)


class MessageReader:
    """Finds the packets in messages.

    It remembers the last layout of each hook, as a kernel uses very few: one comparison then stands
    for the walk from attribute to attribute.
    """

    def __init__(self) -> None:
        self._layouts: dict[int, _Layout] = {}

    def read(self, buffer: bytearray, begin: int, size: int) -> QueuedPacket | None:
        """Return the packet of the message buffer[begin:begin+size]; None if it is not about one.

        A packet whose message breaks off or contradicts itself further on is empty and cut: what
        the kernel waits for is a verdict, in any case.
        """
        if size < _ATTRIBUTES:
            return None
        layout = self._layouts.get(buffer[begin + _HOOK])
        if layout is None or layout.size > size:
            return self._walk(buffer, begin, size)
        (
            length, kind, header_length, header, packet_id, hook, *shape, payload_length, payload,
        ) = layout.unpack_from(buffer, begin)  # fmt: skip
        start = begin + layout.size
        end = begin + size
        if (
            shape != layout.shape
            or payload_length != end - start + _ATTRIBUTE.size
            or payload != _PAYLOAD
            or length != size
            or kind != _PACKET
            or header_length != _PACKET_HDR_LENGTH
            or header != _PACKET_HDR
        ):
            return self._walk(buffer, begin, size)
        info = buffer[begin + layout.info] if layout.info else 0
        # As QueuedPacket(...), but in half the time.
        return tuple.__new__(QueuedPacket, (packet_id, hook, start, end, layout.cut, info))

    def _walk(self, buffer: bytearray, begin: int, size: int) -> QueuedPacket | None:
        """Do the same for any layout, and remember it."""
        length, kind, header_length, header, packet_id, hook = _FIRST.unpack_from(buffer, begin)
        if (kind, header_length, header) != (_PACKET, _PACKET_HDR_LENGTH, _PACKET_HDR):
            return None
        end = begin + size
        unreadable = QueuedPacket(packet_id, hook, end, end, cut=True, info=0)
        if length != size:
            return unreadable
        shape: list[int] = []
        at = begin + _ATTRIBUTES
        while at + _ATTRIBUTE.size <= end:
            length, kind = _ATTRIBUTE.unpack_from(buffer, at)
            if length < _ATTRIBUTE.size or at + length > end:
                return unreadable
            if kind & _TYPE == _PAYLOAD:
                layout = self._layouts[hook] = _Layout(shape)
                start = at + _ATTRIBUTE.size
                info = buffer[begin + layout.info] if layout.info else 0
                return QueuedPacket(packet_id, hook, start, at + length, layout.cut, info)
            shape += (length, kind)
            at += aligned(length)
        return unreadable


def write_verdict(
    buffer: bytearray | memoryview, begin: int, queue: bytes, packet_id: bytes, verdict: bytes
) -> int:
    """Write to buffer[begin:] that the packet goes on as it came, or ends; returns where it ends.

    queue: its number, 2 bytes in network order; verdict: ACCEPT or DROP.
    """
    _PLAIN.pack_into(
        buffer, begin,
        PLAIN_VERDICT, _VERDICT, _REQUEST, queue, 12, _VERDICT_HDR, verdict, packet_id,
    )  # fmt: skip
    return begin + PLAIN_VERDICT


def write_acceptance(
    buffer: bytearray | memoryview, start: int, end: int, queue: bytes, packet_id: bytes
) -> int:
    """Make the packet buffer[start:end] the message that it goes on as it is there.

    Returns where the message begins: 36 bytes before `start`.
    """
    begin = start - BEFORE_PACKET
    _WITH_PACKET.pack_into(
        buffer, begin,
        end - begin, _VERDICT, _REQUEST, queue, 12, _VERDICT_HDR, ACCEPT, packet_id,
        end - start + 4, _PAYLOAD,
    )  # fmt: skip
    return begin


def make_drop(verdict: memoryview) -> memoryview:
    """Change a verdict of this module, in place, to one that drops its packet; returns that."""
    queue, packet_id = bytes(verdict[18:20]), bytes(verdict[28:32])
    write_verdict(verdict, 0, queue, packet_id, DROP)
    return verdict[:PLAIN_VERDICT]


def copy_range(queue: bytes, size: int) -> bytes:
    """Return the request to send packets with their first `size` bytes, to be acknowledged."""
    params = struct.pack("=HH", 9, _PARAMS) + struct.pack("!IB3x", size, _COPY_PACKET)
    return _configuration(queue, params)


def merged_too(queue: bytes) -> bytes:
    """Return the request not to cut merged packets first, nor to complete checksums; likewise."""
    bits = struct.pack("!I", _MERGED_TOO)
    mask, flags = struct.pack("=HH", 8, _MASK) + bits, struct.pack("=HH", 8, _FLAGS) + bits
    return _configuration(queue, flags + mask)


def _configuration(queue: bytes, attributes: bytes) -> bytes:
    length = 20 + len(attributes)
    header = struct.pack("=IHH8x2x2s", length, _CONFIG, _REQUEST | _ACKNOWLEDGE, queue)
    return header + attributes


def acknowledged(message: bytes | bytearray, size: int) -> int | None:
    """Return the error number (0: done) if message[:size] is an answer to a request, else None."""
    if size < 20:
        return None
    kind, error = struct.unpack_from("=4xH10xi", message)
    return -error if kind == _ACKNOWLEDGEMENT else None


def aligned(length: int) -> int:
    """Round up to a multiple of 4 bytes (NLA_ALIGN, NLMSG_ALIGN)."""
    return length + 3 & ~3
