"""tcpdump on a host, and what it saw as values.  IPv4 and IPv6, TCP and UDP, Ethernet captures."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netns_lab.errors import LabError

if TYPE_CHECKING:
    from netns_lab.lab import Lab
    from netns_lab.topology import IPAddress

PATIENCE = 10.0
"""Seconds for tcpdump to say that it listens."""

QUIET = 0.05
"""Seconds without a new packet after which a capture is complete."""

TCP = 6
UDP = 17
_ETHERNET_HEADER = 14
_ETHERTYPES = {0x0800: 4, 0x86DD: 6}
_FRAGMENT = 0x3FFF
"""More fragments, or an offset (RFC 791, section 3.1)."""
_SHORTEST = {TCP: 20, UDP: 8}
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


@dataclass(frozen=True)
class Seen:
    """One TCP or UDP packet as it was on the wire.

    time: seconds since the epoch.  ip_checksum is None for IPv6, which has none.  The two `_ok`
    are this program's own arithmetic over the whole packet (RFC 1071), not the kernel's word.
    """

    time: float
    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    protocol: int
    ttl: int
    flags: tuple[str, ...]
    sequence: int
    payload: bytes
    ip_checksum: int | None
    ip_checksum_ok: bool
    l4_checksum: int
    l4_checksum_ok: bool


class Sniffer:
    """Packets seen by one tcpdump; complete once the `sniff` block has ended.

    `path`: its capture file, which holds also what is neither TCP nor UDP.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packets: list[Seen] = []


@contextlib.contextmanager
def sniff(lab: Lab, host: str, expression: str, *, interface: str = "eth0") -> Iterator[Sniffer]:
    """Capture on a host while the block runs.  expression: pcap-filter(7).  Raises LabError."""
    path = lab.directory / f"sniff-{host}-{interface}-{time.monotonic_ns()}.pcap"
    sniffer = Sniffer(path)
    # Immediate mode and -U: a packet is in the file as soon as it was seen.
    argv = ["tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-s", "0", "-Z", "root"]
    argv += ["-B", "8192", "-w", str(path), expression]
    process = lab.popen(host, argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        _wait_until_listening(process.stderr.fileno(), time.monotonic() + PATIENCE)
        yield sniffer
        _wait_until_quiet(path)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()
    sniffer.packets += read_pcap(path)


def _wait_until_listening(descriptor: int, deadline: float) -> None:
    said = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while b"listening on" not in said:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000) or not (more := os.read(descriptor, 4096)):
            raise LabError(f"tcpdump does not listen: {said.decode(errors='replace').strip()}")
        said += more


def _wait_until_quiet(path: Path) -> None:
    # What the kernel has handed over but tcpdump has not yet written would be lost with it.
    size = -1
    while size != (size := path.stat().st_size):
        time.sleep(QUIET)


def read_pcap(path: Path) -> list[Seen]:
    """The TCP and UDP packets of a capture file (libpcap format, Ethernet), in order.

    Fragments are left out: no checksum can be told from one of them.
    """
    data = path.read_bytes()
    seen = []
    order = "<" if data[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    position = 24
    while position + 16 <= len(data):
        seconds, microseconds, length, _ = struct.unpack_from(f"{order}IIII", data, position)
        frame = data[position + 16 : position + 16 + length]
        position += 16 + length
        if (packet := _dissect(seconds + microseconds / 1e6, frame)) is not None:
            seen.append(packet)
    return seen


def _dissect(when: float, frame: bytes) -> Seen | None:
    version = _ETHERTYPES.get(int.from_bytes(frame[12:14], "big"))
    packet = frame[_ETHERNET_HEADER:]
    if version == 4:
        header = packet[: (packet[0] & 15) * 4]
        protocol, ttl = packet[9], packet[8]
        addresses = packet[12:20]
        segment = packet[len(header) : int.from_bytes(packet[2:4], "big")]
        if int.from_bytes(packet[6:8], "big") & _FRAGMENT:
            return None
        ip_checksum = int.from_bytes(packet[10:12], "big")
        ip_checksum_ok = ones_complement_sum(header) == 0xFFFF
    elif version == 6:
        protocol, ttl = packet[6], packet[7]
        addresses = packet[8:40]
        segment = packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
        ip_checksum, ip_checksum_ok = None, True
    else:
        return None
    if protocol not in {TCP, UDP} or len(segment) < _SHORTEST[protocol]:
        return None
    half = len(addresses) // 2
    source_port, destination_port = struct.unpack_from("!HH", segment)
    is_tcp = protocol == TCP
    checksum = int.from_bytes(segment[16:18] if is_tcp else segment[6:8], "big")
    pseudo_header = addresses + struct.pack("!II", len(segment), protocol)
    absent = protocol == UDP and version == 4 and checksum == 0  # RFC 768: the sender made none
    return Seen(
        time=when,
        source=ipaddress.ip_address(addresses[:half]),
        source_port=source_port,
        destination=ipaddress.ip_address(addresses[half:]),
        destination_port=destination_port,
        protocol=protocol,
        ttl=ttl,
        flags=_flags(segment[13]) if is_tcp else (),
        sequence=int.from_bytes(segment[4:8], "big") if is_tcp else 0,
        payload=segment[(segment[12] >> 4) * 4 if is_tcp else 8 :],
        ip_checksum=ip_checksum,
        ip_checksum_ok=ip_checksum_ok,
        l4_checksum=checksum,
        l4_checksum_ok=absent or ones_complement_sum(pseudo_header + segment) == 0xFFFF,
    )


def _flags(bits: int) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(_TCP_FLAGS) if bits >> number & 1)


def ones_complement_sum(data: bytes) -> int:
    """The 16-bit ones' complement sum (RFC 1071): 0xffff over data with its right checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
