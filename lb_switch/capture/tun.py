"""Capture by a TUN device that VIPs and real servers' replies are routed to.

The device carries a virtio net header before each packet (IFF_VNET_HDR, linux/virtio_net.h): with
it the kernel hands over segments of up to 64 KiB whole, their L4 checksum left partial, and takes
them back so.  `host.plan` says which routes and rules bring the packets here; `napi`, who takes
them on when they are written back.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lb_switch.capture import napi
from lb_switch.capture.faults import FaultLog
from lb_switch.capture.interface import CaptureError
from lb_switch.capture.privilege import require_net_admin
from lb_switch.engine.packet.hop import destination_of, give_hop_back, with_hop_back
from lb_switch.engine.verdict import Action
from lb_switch.host.plan import free_address, free_table, plan_tun
from lb_switch.host.services import Services
from lb_switch.host.setup import DEFAULT_DIRECTORY, HostSetup
from lb_switch.host.view import read

if TYPE_CHECKING:
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.engine.switch import Switch

VNET_HEADER = 10
"""Bytes of struct virtio_net_hdr before each packet."""
NEEDS_CSUM = 1
"""Its flag (byte 0): the L4 checksum field holds only the pseudo-header's sum."""
MAX_PACKET = 65535

_NODE = "/dev/net/tun"
_TUNSETOFFLOAD = 0x400454D0
_CSUM, _TSO4, _TSO6, _TSO_ECN, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_OFFLOADS = _CSUM | _TSO4 | _TSO6 | _TSO_ECN
_NO_HEADER = bytes(VNET_HEADER)
# Slack for a writer that errs: an out-of-bounds write must not exist even then.
_BUFFER_SIZE = VNET_HEADER + MAX_PACKET + 512


class TunCapture:
    """Reads and writes packets at a TUN device, one read and one write each.

    `virtual_servers` decide the routes and rules.  `state_directory` is where the undo journal
    lies; `device` is the name of the interface.
    """

    name = "tun"
    routed = True
    """The host has taken its hop of whatever is read here."""

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        *,
        device: str = "lbtun",
        state_directory: Path | str = DEFAULT_DIRECTORY,
    ) -> None:
        self.device = device
        self.write_errors = 0
        """Packets that the kernel refused to take back."""
        self.circling = 0
        """Packets not passed, as they are to a VIP (or snat address) and would return at once."""
        self._virtual_servers = tuple(virtual_servers)
        self._services = Services()
        self.host = HostSetup(state_directory, device)
        self._tun: Any = None
        self._fd = -1
        self._address = ""
        self._table = 0
        self._captured: frozenset[bytes] = frozenset()
        self._buffer = bytearray(_BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._faults = FaultLog()

    def open(self) -> None:
        """Create the device, then route the VIPs and the replies to it.  Raises CaptureError."""
        require_net_admin(self.name)
        try:
            self.host.acquire()
            self._open_device()
            host = read().without(self.device)
            self._address, self._table = free_address(host), free_table(host)
            self.update(self._virtual_servers)
        except BaseException:
            self.close()
            raise

    def _open_device(self) -> None:
        if not Path(_NODE).exists():
            raise CaptureError(
                f"{_NODE} is missing: modprobe tun; mkdir -p /dev/net && mknod {_NODE} c 10 200"
            )
        if any(name == self.device for _, name in socket.if_nameindex()):
            raise CaptureError(
                f"interface {self.device} exists already: remove it (ip link del {self.device})"
            )
        threaded = napi.pays_off()
        self._create(napi.IFF_NAPI if threaded else 0)
        if threaded and not napi.start_thread(self._fd, self.device):
            # NAPI without the thread would only be a queue more.
            self._tun.close()
            self._tun = None
            self._create(0)
        os.set_blocking(self._fd, False)
        os.set_inheritable(self._fd, False)
        for offloads in (_OFFLOADS | _USO4 | _USO6, _OFFLOADS):
            try:
                fcntl.ioctl(self._fd, _TUNSETOFFLOAD, offloads)
                return
            except OSError:  # USO: Linux 6.2 and later
                continue
        raise CaptureError("the kernel's TUN driver has no offloads (TUNSETOFFLOAD)")

    def _create(self, more_flags: int) -> None:
        import pytun

        flags = pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR | more_flags
        try:
            self._tun = pytun.TunTapDevice(name=self.device, flags=flags)
        except (pytun.Error, OSError) as error:
            why = str(error.args[-1] if error.args else error)
            raise CaptureError(f"cannot create the TUN device {self.device}: {why}") from None
        self._fd = self._tun.fileno()

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Make routes, rules and proxy neighbours fit.  Raises CaptureError."""
        services = self._services.of(virtual_servers)
        planner = partial(
            plan_tun, services, device=self.device, address=self._address, table=self._table
        )
        self.host.apply(planner(read().without(self.device)), planner)
        self._captured = frozenset(ip.packed for s in services for ip in s.captured)

    def fileno(self) -> int:
        """Return the device's file descriptor."""
        return self._fd

    def handle_batch(self, switch: Switch, now: float, limit: int) -> int:
        """Read at most `limit` packets and carry out their verdicts; returns how many."""
        fd, buffer, view = self._fd, self._buffer, self._view
        vectors = (buffer,)
        handle, readv, write = switch.handle_packet, os.readv, os.write
        forward, passed = Action.FORWARD, Action.PASS
        for count in range(limit):
            try:
                size = readv(fd, vectors)
            except BlockingIOError:
                return count
            except OSError as error:
                raise CaptureError(f"{self.device} is gone: {error.strerror}") from None
            try:
                action, _, packets = handle(
                    buffer, VNET_HEADER, size - VNET_HEADER, now, buffer[0] & NEEDS_CSUM == 1
                )
            except Exception:
                action, _, packets = self._faults.note(switch)
            if action is forward:
                # The host's forwarding takes one before the device and one behind it.
                give_hop_back(buffer, VNET_HEADER)
            elif action is not passed:
                size = 0
            elif destination_of(buffer, VNET_HEADER, size) in self._captured:
                self.circling += 1
                size = 0
            if size:
                try:
                    write(fd, view[:size])
                except OSError:
                    self.write_errors += 1
            if packets:
                self.send(packets)
        return limit

    def send(self, packets: Iterable[bytes]) -> None:
        """Write self-made packets, and fragments that the first of their datagram released.

        The virtio header says: nothing left to do.  The host's forwarding takes the hop again that
        is given here, so that they leave as they are.
        """
        for packet in packets:
            try:
                os.writev(self._fd, (_NO_HEADER, with_hop_back(packet)))
            except OSError:
                self.write_errors += 1

    def losses(self) -> dict[str, int]:
        """Return what was lost so far, by kind."""
        return {
            "write_errors": self.write_errors,
            "circling": self.circling,
        }

    def close(self) -> None:
        """Undo routes and rules, then remove the device."""
        self.host.release()
        if self._tun is not None:
            self._tun.close()
            self._tun, self._fd = None, -1
