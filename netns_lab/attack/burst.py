"""Many frames with one system call: sendmmsg(2) on a packet socket (packet(7)).

A call for each frame costs the attacker more than the frame; his packets must be cheaper than the
switch's, or it is him who is measured.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Sequence

BURST = 32
"""Frames sent at once, at most."""
SLOT = 256
"""Bytes of the longest frame."""
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20  # linux/if_packet.h


class _IOVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_IOVec)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("sent", ctypes.c_uint))


class BurstSocket:
    """Sends Ethernet frames out of an interface.  Needs CAP_NET_RAW."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, 0))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self._buffer = bytearray(BURST * SLOT)
        place = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._vectors = (_IOVec * BURST)()
        self._messages = (_MMsgHdr * BURST)()
        self._lengths = [0] * BURST
        for slot in range(BURST):
            self._vectors[slot].base = place + slot * SLOT
            header = self._messages[slot].header
            header.vectors = ctypes.pointer(self._vectors[slot])
            header.vector_count = 1
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def send(self, frames: Sequence[bytes]) -> int:
        """Send up to BURST frames of up to SLOT bytes; return how many the interface took."""
        buffer, lengths = self._buffer, self._lengths
        for slot, frame in enumerate(frames):
            length = len(frame)
            at = slot * SLOT
            buffer[at : at + length] = frame
            if lengths[slot] != length:
                lengths[slot] = self._vectors[slot].length = length
        taken = done = 0
        while done < len(frames):
            sent = self._sendmmsg(
                self._socket.fileno(),
                ctypes.byref(self._messages, done * ctypes.sizeof(_MMsgHdr)),
                len(frames) - done,
                0,
            )
            if sent > 0:
                taken += sent
                done += sent
            else:
                # The first of them was refused (ENOBUFS: the receiver's queue is full).
                error = ctypes.get_errno()
                if error not in _PASSING:
                    raise OSError(error, os.strerror(error))
                done += 1
        return taken

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


_PASSING = frozenset({105, 11, 4, 12})  # ENOBUFS, EAGAIN, EINTR, ENOMEM (errno(3))
