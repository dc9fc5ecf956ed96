"""Capture by netfilter's NFQUEUE target: the kernel lends packets and waits for a verdict.

`host.plan` says which iptables rules queue them.  The netfilterqueue package asks the kernel for
the first 4,016 bytes of a packet only and reads without bound; both are lifted here, by a
configuration message of our own and by a receiver that ends after a batch.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lb_switch.capture.faults import FaultLog
from lb_switch.capture.hop import after_one_hop, destination_of
from lb_switch.capture.host.plan import OWN_MARK, plan_nfqueue
from lb_switch.capture.host.setup import DEFAULT_DIRECTORY, HostSetup
from lb_switch.capture.host.view import read
from lb_switch.capture.interface import CaptureError
from lb_switch.capture.privilege import require_net_admin
from lb_switch.capture.services import Services
from lb_switch.verdict import Action

if TYPE_CHECKING:
    from lb_switch.servers import VirtualServer
    from lb_switch.switch import Switch

DEFAULT_QUEUE = 100
MAX_PACKET = 65535

_QUEUE_LENGTH = 16_384
"""Packets the kernel holds for us."""
_SOCKET_BUFFER = 16 * 1024 * 1024
"""Bytes of the netlink socket's receive buffer."""
_MESSAGE_SIZE = MAX_PACKET + 4096
_QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")

# linux/netfilter/nfnetlink_queue.h
_NETLINK_NETFILTER = 12
_CONFIG = 3 << 8 | 2
_REQUEST, _ACK = 1, 4
_PARAMS = 2
_COPY_PACKET = 2
_PREROUTING = 0
"""NF_INET_PRE_ROUTING of linux/netfilter.h."""


class NfqueueCapture:
    """Reads packets from one queue; every packet gets a verdict, whatever happens.

    `virtual_servers` decide the rules.  `queue` is the queue's number (0 to 65535);
    `state_directory` is where the undo journal lies.
    """

    name = "nfqueue"

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        *,
        queue: int = DEFAULT_QUEUE,
        state_directory: Path | str = DEFAULT_DIRECTORY,
    ) -> None:
        self.queue = queue
        self.write_errors = 0
        """Self-made packets that the kernel refused to send."""
        self.circling = 0
        """Packets not let go unchanged, as they are to a VIP (or snat address) and would return."""
        self._virtual_servers = tuple(virtual_servers)
        self._services = Services()
        self._host = HostSetup(state_directory)
        self._queue: Any = None
        self._receiver: _Receiver | None = None
        self._raw: dict[int, socket.socket] = {}
        self._captured: frozenset[bytes] = frozenset()
        self._buffer = bytearray(_MESSAGE_SIZE)
        self._view = memoryview(self._buffer)
        self._switch: Switch | None = None
        self._now = 0.0
        self._faults = FaultLog()

    @property
    def overruns(self) -> int:
        """How often the kernel had to drop packets because the socket's buffer was full."""
        return self._receiver.overruns if self._receiver else 0

    def open(self) -> None:
        """Bind the queue, then install the rules that fill it.  Raises CaptureError."""
        require_net_admin(self.name)
        try:
            self._host.acquire()
            self._open_queue()
            for family in (socket.AF_INET, socket.AF_INET6):
                self._raw[family] = _raw_socket(family)
            self.update(self._virtual_servers)
        except BaseException:
            self.close()
            raise

    def _open_queue(self) -> None:
        import netfilterqueue

        if _is_taken(self.queue):
            raise CaptureError(
                f"NFQUEUE {self.queue} is taken by another program: choose another number"
            )
        self._queue = netfilterqueue.NetfilterQueue()
        try:
            with warnings.catch_warnings():
                # A smaller receive buffer than asked for is no reason to stop.
                warnings.simplefilter("ignore", RuntimeWarning)
                self._queue.bind(
                    self.queue, self._handle, max_len=_QUEUE_LENGTH, sock_len=_SOCKET_BUFFER
                )
        except OSError as error:
            raise CaptureError(f"cannot bind NFQUEUE {self.queue}: {error}") from None
        self._receiver = _Receiver(os.dup(self._queue.get_fd()))
        self._receiver.copy_whole_packets(self.queue)

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Make rules, routes and proxy neighbours fit.  Raises CaptureError."""
        services = self._services.of(virtual_servers)
        host = read()
        self._host.apply(plan_nfqueue(services, host, self.queue))
        self._captured = frozenset(
            ip.packed for s in services for ip in s.captured if not host.is_local(ip)
        )

    def fileno(self) -> int:
        """Return the netlink socket's file descriptor."""
        return self._receiver.fileno() if self._receiver else -1

    def handle_batch(self, switch: Switch, now: float, limit: int) -> int:
        """Handle at most `limit` queued packets; returns how many."""
        receiver = self._receiver
        if receiver is None:
            return 0
        self._switch, self._now = switch, now
        receiver.left = limit
        try:
            self._queue.run_socket(receiver)
        except OSError as error:
            raise CaptureError(f"NFQUEUE {self.queue}: {error.strerror}") from None
        return limit - receiver.left

    def _handle(self, packet: Any) -> None:
        """Called by run_socket for each packet.  An exception would leave it without a verdict."""
        switch = self._switch
        if switch is None:
            packet.drop()
            return
        payload = packet.get_payload()
        size = len(payload)
        buffer = self._buffer
        buffer[:size] = payload
        try:
            if is_cut(buffer, size):
                action, _, packets = switch.note_cut_packet()
            else:
                action, _, packets = switch.handle_packet(buffer, 0, size, self._now)
        except Exception:
            action, _, packets = self._faults.note(switch)
        if action is Action.FORWARD:
            packet.set_payload(bytes(self._view[:size]))
            packet.accept()
        elif action is not Action.PASS:
            packet.drop()
        elif destination_of(buffer, 0, size) in self._captured:
            self.circling += 1
            packet.drop()
        else:
            packet.accept()
        if packets:
            if action is Action.FORWARD and packet.hook == _PREROUTING:
                # Fragments released by the first of their datagram: the host forwards that one,
                # but only sends what comes by the raw socket.
                self.send(filter(None, map(after_one_hop, packets)))
            else:
                self.send(packets)

    def send(self, packets: Iterable[bytes]) -> None:
        """Send by a raw IP socket: rewritten in place, an answer would meet rp_filter."""
        for packet in packets:
            try:
                if packet[0] >> 4 == 4:
                    destination = socket.inet_ntop(socket.AF_INET, packet[16:20])
                    self._raw[socket.AF_INET].sendto(packet, (destination, 0))
                else:
                    destination = socket.inet_ntop(socket.AF_INET6, packet[24:40])
                    self._raw[socket.AF_INET6].sendto(packet, (destination, 0))
            except (OSError, KeyError):
                self.write_errors += 1

    def close(self) -> None:
        """Remove the rules, then unbind the queue."""
        self._host.release()
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None
        if self._queue is not None:
            self._queue.unbind()
            self._queue = None
        for raw in self._raw.values():
            raw.close()
        self._raw.clear()


class _Receiver:
    """What run_socket receives from: large messages, and an end after `left` of them."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self.left = 0
        self.overruns = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv(self, _size: int) -> bytes:
        if self.left == 0:
            raise BlockingIOError(errno.EAGAIN, "end of the batch")
        try:
            message = self._socket.recv(_MESSAGE_SIZE)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self.overruns += 1
            raise
        self.left -= 1
        return message

    def copy_whole_packets(self, queue: int) -> None:
        """Lift the copy range of the queue to the kernel's maximum.  Raises CaptureError."""
        params = struct.pack("!IB", MAX_PACKET, _COPY_PACKET)
        attribute = struct.pack("=HH", 4 + len(params), _PARAMS) + params + bytes(3)
        body = struct.pack("=BB", socket.AF_UNSPEC, 0) + struct.pack("!H", queue) + attribute
        header = struct.pack("=IHHII", 16 + len(body), _CONFIG, _REQUEST | _ACK, 1, 0)
        self._socket.sendto(header + body, (0, 0))
        self._socket.settimeout(5.0)
        answer = self._socket.recv(_MESSAGE_SIZE)
        self._socket.setblocking(False)
        code = struct.unpack_from("=i", answer, 16)[0]
        if code:
            raise CaptureError(f"NFQUEUE {queue} refuses whole packets: {os.strerror(-code)}")

    def close(self) -> None:
        self._socket.close()


def is_cut(buffer: bytearray, size: int) -> bool:
    """Whether the packet at the buffer's begin has fewer bytes than its IP header says."""
    if buffer[0] >> 4 == 4:
        return size >= 4 and buffer[2] << 8 | buffer[3] > size
    return size >= 6 and 40 + (buffer[4] << 8 | buffer[5]) > size


def _is_taken(queue: int) -> bool:
    """Whether the number stands in the kernel's list of bound queues of this namespace."""
    try:
        lines = _QUEUES.read_text().splitlines()
    except OSError:
        return False
    return any(int(line.split()[0]) == queue for line in lines)


def _raw_socket(family: int) -> socket.socket:
    """Return a socket that takes whole IP packets (raw(7): IPPROTO_RAW implies the header)."""
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN_MARK)
    # Nothing is ever read from it.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    return raw
