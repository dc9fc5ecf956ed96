"""The netlink socket of a bound packet queue: messages in, verdicts out, many at a time.

The netfilterqueue package opens the socket and binds the queue.  It could receive as well, but asks
for the first 4,016 bytes of a packet only, and sends each verdict by itself.  The kernel takes many
messages in one datagram, and goes from one to the next (`netlink_rcv_skb`); what that is worth
stands in netns_lab/bench/NOTES.md.
"""

from __future__ import annotations

import errno
import os
import socket

from lb_switch.capture.interface import CaptureError
from lb_switch.capture.nfqueue_messages import (
    DROP,
    MessageReader,
    acknowledged,
    copy_range,
    make_drop,
    merged_too,
    write_verdict,
)

MAX_PACKET = 65535
MESSAGE_SIZE = MAX_PACKET + 4096
"""Bytes that any message from the kernel fits in."""

_PATIENCE = 5.0
"""Seconds until a request without an answer has failed."""


class QueueSocket:
    """Sends and receives on `netlink`, the socket of queue number `queue`, which it then owns."""

    def __init__(self, netlink: socket.socket, queue: int) -> None:
        self.queue = queue
        self.number = queue.to_bytes(2, "big")
        """As verdicts name it."""
        self.overruns = 0
        """How often the kernel dropped packets because the socket's buffer was full."""
        self.refused = 0
        """Verdicts the kernel did not take: it was told to drop those packets instead."""
        self._socket = netlink
        netlink.setblocking(False)

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def receive_into(self, place: memoryview) -> int:
        """Receive one message to the beginning of `place`; returns its size, 0 if none waits.

        `place` should have room for MESSAGE_SIZE bytes.  Raises CaptureError if the socket fails.
        """
        while True:
            try:
                return self._socket.recv_into(place)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise CaptureError(f"NFQUEUE {self.queue}: {error.strerror}") from None
                self.overruns += 1

    def send_all(self, verdicts: list[memoryview]) -> None:
        """Send verdicts in this order, each padded to 4 bytes, and empty the list.

        Raises CaptureError if the socket takes not even the refusal of a packet.
        """
        if not verdicts:
            return
        try:
            self._socket.sendmsg(verdicts)
        except OSError:
            # None of them has arrived.  One by one they need less memory.
            for verdict in verdicts:
                self._send_one(verdict)
        verdicts.clear()

    def _send_one(self, verdict: memoryview) -> None:
        try:
            self._socket.send(verdict)
        except OSError:
            self.refused += 1
            try:
                self._socket.send(make_drop(verdict))
            except OSError as error:
                raise CaptureError(f"NFQUEUE {self.queue}: {error.strerror}") from None

    def copy_whole_packets(self) -> None:
        """Lift the copy range of the queue to the kernel's maximum.  Raises CaptureError."""
        error = self._request(copy_range(self.number, MAX_PACKET))
        if error:
            raise CaptureError(f"NFQUEUE {self.queue} refuses whole packets: {os.strerror(error)}")

    def take_merged_packets(self) -> bool:
        """Ask for packets as the host has them: merged into large ones, checksums left partial.

        Returns whether the kernel can (Linux 3.10 and later).  Raises CaptureError.
        """
        return not self._request(merged_too(self.number))

    def _request(self, request: bytes) -> int:
        """Send a request and return the error number of the answer; 0: done."""
        message = bytearray(MESSAGE_SIZE)
        reader = MessageReader()
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.send(request)
            size = self._socket.recv_into(message)
            while (error := acknowledged(message, size)) is None:
                # A rule of somebody else's fills the queue already: its packets must not hang.
                early = reader.read(message, 0, size)
                if early is not None:
                    end = write_verdict(message, 0, self.number, early.packet_id, DROP)
                    self._socket.send(memoryview(message)[:end])
                size = self._socket.recv_into(message)
            self._socket.setblocking(False)
        except OSError as failure:
            raise CaptureError(f"NFQUEUE {self.queue}: {failure}") from None
        return error

    def close(self) -> None:
        """Close this descriptor; the queue stays bound while others of the socket are open."""
        self._socket.close()
