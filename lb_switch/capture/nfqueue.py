"""Capture by netfilter's NFQUEUE target: the kernel lends packets and waits for a verdict.

`host.plan` says which iptables rules queue them.  The netfilterqueue package opens and binds the
queue; the packets themselves are read, rewritten and answered in one buffer of ours
(`nfqueue_messages`), and the verdicts on all that wait are sent together (`nfqueue_socket`).
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lb_switch.capture.faults import FaultLog
from lb_switch.capture.interface import DEFAULT_QUEUE, CaptureError
from lb_switch.capture.nfqueue_messages import (
    ACCEPT,
    DROP,
    MERGED,
    PARTIAL,
    MessageReader,
    aligned,
    write_acceptance,
    write_verdict,
)
from lb_switch.capture.nfqueue_socket import MESSAGE_SIZE, QueueSocket
from lb_switch.capture.privilege import require_net_admin
from lb_switch.engine.packet.hop import after_one_hop, destination_of
from lb_switch.engine.packet.partial import complete_checksum
from lb_switch.engine.packet.protocol import ICMP, ICMPV6, TCP
from lb_switch.engine.verdict import Action
from lb_switch.host.plan import OWN_MARK, plan_nfqueue
from lb_switch.host.services import Services
from lb_switch.host.setup import DEFAULT_DIRECTORY, HostSetup
from lb_switch.host.view import read

if TYPE_CHECKING:
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.engine.switch import Switch

_QUEUE_LENGTH = 16_384
"""Packets the kernel holds for us."""
_RECEIVE_BUFFER = 16 * 1024 * 1024
"""Bytes of the netlink socket's."""
_FULL = 64 * 1024
"""Bytes of messages after which verdicts are sent, though more packets may wait.  With the message
that goes beyond, they still fit in a socket's send buffer of the usual size (net.core.wmem_max)."""
_QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")
_PREROUTING = 0
"""NF_INET_PRE_ROUTING of linux/netfilter.h."""


class NfqueueCapture:
    """Reads packets from one queue; every packet gets a verdict, whatever happens.

    `virtual_servers` decide the rules.  `queue` is the queue's number (0 to 65535);
    `own_addresses` says that a VIP may be an address of this machine;
    `state_directory` is where the undo journal lies.
    """

    name = "nfqueue"

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        *,
        queue: int = DEFAULT_QUEUE,
        own_addresses: bool = False,
        state_directory: Path | str = DEFAULT_DIRECTORY,
    ) -> None:
        self.queue = queue
        self._own_addresses = own_addresses
        self.write_errors = 0
        """Self-made packets that the kernel refused to send."""
        self.circling = 0
        """Packets not let go unchanged, as they are to a VIP (or snat address) and would return."""
        self._virtual_servers = tuple(virtual_servers)
        self._services = Services()
        self.host = HostSetup(state_directory)
        self._queue: Any = None
        self._socket: QueueSocket | None = None
        self._raw: dict[int, socket.socket] = {}
        self._captured: frozenset[bytes] = frozenset()
        self._buffer = bytearray(_FULL + MESSAGE_SIZE)
        self._view = memoryview(self._buffer)
        self._hook = _PREROUTING
        self._reader = MessageReader()
        self._alone = True
        """Whether the last batch was of one packet."""
        self._faults = FaultLog()

    @property
    def overruns(self) -> int:
        """How often the kernel had to drop packets because the socket's buffer was full."""
        return self._socket.overruns if self._socket else 0

    @property
    def refused(self) -> int:
        """Verdicts that the kernel did not take, so that their packets were dropped."""
        return self._socket.refused if self._socket else 0

    def open(self) -> None:
        """Bind the queue, then install the rules that fill it.  Raises CaptureError."""
        require_net_admin(self.name)
        try:
            self.host.acquire()
            self._open_queue()
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
                self._queue.bind(self.queue, _drop, max_len=_QUEUE_LENGTH, sock_len=_RECEIVE_BUFFER)
        except OSError as error:
            raise CaptureError(f"cannot bind NFQUEUE {self.queue}: {error}") from None
        netlink = socket.socket(fileno=os.dup(self._queue.get_fd()))
        self._socket = QueueSocket(netlink, self.queue)
        self._socket.copy_whole_packets()
        self._socket.take_merged_packets()

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Make rules, routes and proxy neighbours fit.  Raises CaptureError."""
        services = self._services.of(virtual_servers)
        self._open_raw_sockets({service.vip.ip.version for service in services})
        host = read()
        planner = partial(
            plan_nfqueue, services, queue=self.queue, own_addresses=self._own_addresses
        )
        self.host.apply(planner(host), planner)
        self._captured = frozenset(
            ip.packed for s in services for ip in s.captured if not host.is_local(ip)
        )

    def _open_raw_sockets(self, versions: Iterable[int]) -> None:
        """Open one for each version that is served: a kernel without IPv6 has none of it."""
        for version in versions:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            if family not in self._raw:
                try:
                    self._raw[family] = _raw_socket(family)
                except OSError as error:
                    raise CaptureError(f"no IPv{version} here: {error.strerror}") from None

    def fileno(self) -> int:
        """Return the netlink socket's file descriptor."""
        return self._socket.fileno() if self._socket else -1

    @property
    def routed(self) -> bool:
        """Whether the host has taken its hop of the packet at hand already."""
        return self._hook != _PREROUTING

    def handle_batch(self, switch: Switch, now: float, limit: int) -> int:
        """Handle at most `limit` queued packets; returns how many.

        Their verdicts are sent together, in order, once no more wait.  A packet that follows one
        that came alone is answered before another is looked for: nothing would be saved, and it
        would wait.
        """
        netlink = self._socket
        if netlink is None:
            return 0
        buffer, view, queue = self._buffer, self._view, netlink.number
        handle, read, receive_into = switch.handle_packet, self._reader.read, netlink.receive_into
        forward = Action.FORWARD
        verdicts: list[memoryview] = []
        alone = self._alone
        count = at = 0
        try:
            while count < limit and (size := receive_into(view[at:])):
                count += 1
                packet = read(buffer, at, size)
                if packet is None:
                    continue
                packet_id, hook, start, end, cut, info = packet
                self._hook = hook
                told = b""
                if hook != _PREROUTING and _is_icmp(buffer, start):
                    told = destination_of(buffer, start, end)
                try:
                    if cut:
                        action, _, packets = switch.note_cut_packet()
                    else:
                        partial = info & PARTIAL == PARTIAL
                        action, _, packets = handle(buffer, start, end - start, now, partial)
                        if partial and action is forward:
                            # The kernel does not do it for what it is given back.
                            if info & MERGED:
                                _complete_merged(buffer, start, end, hook)
                            else:
                                complete_checksum(buffer, start, end)
                except Exception:
                    action, _, packets = self._faults.note(switch)
                if told and action is forward and destination_of(buffer, start, end) != told:
                    # The host's own error, to an address of the switch: it is on its way to lo.
                    action, packets = Action.REPLY, (bytes(view[start:end]), *packets)
                if action is forward:
                    begin = write_acceptance(buffer, start, end, queue, packet_id)
                    verdicts.append(view[begin : aligned(end)])
                else:
                    passed = action is Action.PASS and not self._would_circle(start, end)
                    verdict = ACCEPT if passed else DROP
                    verdicts.append(view[at : write_verdict(buffer, at, queue, packet_id, verdict)])
                if packets and action is forward:
                    # They follow this one: released fragments the first of their datagram.
                    netlink.send_all(verdicts)
                    self._send_released(packets, hook)
                elif packets:
                    self.send(packets)
                at += aligned(size)
                if alone or at > _FULL:
                    netlink.send_all(verdicts)
                    alone, at = False, 0
        finally:
            netlink.send_all(verdicts)
        if count:
            self._alone = count == 1
        return count

    def _would_circle(self, start: int, end: int) -> bool:
        """Whether the packet, let go unchanged, would come back; counts it then."""
        circles = destination_of(self._buffer, start, end) in self._captured
        self.circling += circles
        return circles

    def _send_released(self, packets: Iterable[bytes], hook: int) -> None:
        """Send fragments that were held until this first one of their datagram came."""
        if hook == _PREROUTING:
            # The host forwards the first one, but only sends what comes by the raw socket.
            packets = filter(None, map(after_one_hop, packets))
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

    def losses(self) -> dict[str, int]:
        """Return what was lost so far, by kind."""
        return {
            "overruns": self.overruns,
            "refused": self.refused,
            "write_errors": self.write_errors,
            "circling": self.circling,
        }

    def close(self) -> None:
        """Remove the rules, then unbind the queue."""
        self.host.release()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._queue is not None:
            self._queue.unbind()
            self._queue = None
        for raw in self._raw.values():
            raw.close()
        self._raw.clear()


def _is_icmp(buffer: bytearray, start: int) -> bool:
    if buffer[start] >> 4 == 4:
        return buffer[start + 9] == ICMP
    return buffer[start + 6] == ICMPV6


def _complete_merged(buffer: bytearray, start: int, end: int, hook: int) -> None:
    """Complete a merged packet's partial checksum where somebody looks at it.

    The kernel computes new ones when it cuts the packet up: TCP's from nothing, UDP's from the
    partial one (tcp4_gso_segment, __udp_gso_segment).  But conntrack, behind PREROUTING, checks it
    before that, and firewalls tend to drop what it calls invalid.  TCP's can be made right for
    both; merged datagrams to a VIP do not pass such a firewall, unless the host is told to trust
    checksums (net.netfilter.nf_conntrack_checksum=0).  They come from the host's own containers,
    hardly ever off a wire.
    """
    if hook == _PREROUTING:
        complete_checksum(buffer, start, end, TCP)


def _drop(packet: Any) -> None:
    """What netfilterqueue calls for a packet that it comes upon itself, while it unbinds."""
    packet.drop()


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
