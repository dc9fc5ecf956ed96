"""Says on the wire who has a virtual IP now: gratuitous ARP, unsolicited neighbour advertisements.

Whoever talked to the VIP through another machine, or through this one by another interface, would
go on sending there until his neighbour entry is doubted (RFC 5227, section 3; RFC 4861, section
7.2.6: at most three, a second apart, as they may be lost).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from pathlib import Path

from lb_switch.engine.packet.checksum import internet_checksum
from lb_switch.engine.packet.endpoint import IPAddress

TIMES = 3
_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ADVERTISEMENT = 136
_OVERRIDE_ROUTER = 0xA0000000
"""Flags of a neighbour advertisement: it is a router's, and entries are to be replaced."""


def gratuitous_arp(mac: bytes, ip: ipaddress.IPv4Address) -> bytes:
    """Return an ARP announcement (RFC 5227, section 3): a request for one's own address."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body += mac + ip.packed + bytes(6) + ip.packed
    return _BROADCAST + mac + struct.pack("!H", _ETH_ARP) + body


def advertisement(mac: bytes, ip: ipaddress.IPv6Address) -> bytes:
    """Return an unsolicited neighbour advertisement to all nodes (RFC 4861, section 4.4)."""
    option = b"\x02\x01" + mac
    icmp = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE_ROUTER) + ip.packed + option
    pseudo = ip.packed + _ALL_NODES.packed + struct.pack("!IHBB", len(icmp), 0, 0, 58)
    icmp = icmp[:2] + struct.pack("!H", internet_checksum(pseudo + icmp)) + icmp[4:]
    # Hop limit 255: else it is not believed (RFC 4861, section 7.1.2).
    header = struct.pack("!IHBB", 6 << 28, len(icmp), 58, 255) + ip.packed + _ALL_NODES.packed
    # RFC 2464, section 7: the multicast address's last four bytes.
    ethernet = b"\x33\x33" + _ALL_NODES.packed[-4:] + mac + struct.pack("!H", _ETH_IPV6)
    return ethernet + header + icmp


def announce(device: str, ip: IPAddress) -> bool:
    """Announce once that `ip` is here; False where the interface is not there, or no Ethernet."""
    mac = _mac_of(device)
    if mac is None:
        return False
    frame = gratuitous_arp(mac, ip) if ip.version == 4 else advertisement(mac, ip)
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((device, 0))
        out.send(frame)
        return True
    return False


def _mac_of(device: str) -> bytes | None:
    try:
        text = Path(f"/sys/class/net/{device}/address").read_text(encoding="ascii").strip()
        mac = bytes.fromhex(text.replace(":", ""))
    except (OSError, ValueError):
        mac = b""
    if not mac and device.isprintable():
        # /sys shows the interfaces of the namespace in which it was mounted.
        with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((device, 0))
            mac = out.getsockname()[4]
    return mac if len(mac) == 6 and any(mac) else None
