"""NAPI threads: from a TUN device on, a packet's way goes by a kernel thread of the device's own.

Without one, a write() takes the packet all the way through the kernel: routing, bridges, and in a
lab of namespaces even the far end's TCP run in the writer's name, on the writer's core.  A device
made with IFF_NAPI (Linux 4.15) only queues what is written, and if its `threaded` attribute is set
(Linux 5.12), a thread `napi/DEVICE-N` takes it on from there, which the scheduler may put on
another core.  (Documentation/networking/napi.rst, "Threaded NAPI"; what it gives is measured in
netns_lab/bench/NOTES.md.)
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import struct
from pathlib import Path

from lb_switch.host.error import HostError
from lb_switch.host.run import run

_log = logging.getLogger(__name__)

IFF_NAPI = 0x0010
"""linux/if_tun.h; python-pytun has no name for it."""

QUEUE_BYTES = 16 << 20
"""What may wait for the thread, in bytes of the kernel's memory; the write after that fails."""

_TUNSETSNDBUF = 0x400454D4
_SYS = Path("/sys")
# The sysfs of the namespace that the program runs in, wherever it was started.
_IN_OWN_SYSFS = 'mount -t sysfs sysfs /sys && echo 1 > "/sys/class/net/$0/threaded"'


def pays_off() -> bool:
    """Whether there is another core that the thread could run on."""
    return (os.cpu_count() or 1) > 1


def start_thread(fd: int, device: str) -> bool:
    """Let a thread take on what is written to the TUN device that `fd` has open.

    Returns False, and changes nothing, where kernel or privileges do not allow it.
    """
    try:
        if _shows_this_namespace(_SYS):
            (_SYS / "class/net" / device / "threaded").write_text("1")
        else:
            run(("unshare", "--mount", "sh", "-c", _IN_OWN_SYSFS, device))
    except (OSError, HostError) as error:
        _log.debug("no NAPI thread for %s: %s", device, error)
        return False
    # Else a writer that is faster than the thread would fill the memory.
    fcntl.ioctl(fd, _TUNSETSNDBUF, struct.pack("=i", QUEUE_BYTES))
    return True


def _shows_this_namespace(sys: Path) -> bool:
    """Whether /sys shows this network namespace, and not the one it was mounted in."""
    try:
        shown = {
            (int((entry / "ifindex").read_text()), entry.name)
            for entry in (sys / "class/net").iterdir()
            if (entry / "ifindex").is_file()
        }
    except OSError:
        return False
    return shown == set(socket.if_nameindex())
