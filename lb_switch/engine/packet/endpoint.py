"""Endpoints: an IP address and a port, and their text."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Endpoint(NamedTuple):
    """An IP address and a TCP/UDP port."""

    ip: IPAddress
    port: int

    def __str__(self) -> str:
        """`10.0.2.11:80`, or `[2001:db8::11]:80` (RFC 3986, section 3.2.2)."""
        host = f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read what `str` writes.  Raises ValueError with one clear line."""
        host, colon, port_text = text.rpartition(":")
        if not colon or not port_text.isascii() or not port_text.isdigit():
            raise ValueError(f"{text!r} is not ADDRESS:PORT")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            raise ValueError(f"{text!r}: {host!r} is not an IP address") from None
        if bracketed != (ip.version == 6):
            raise ValueError(f"{text!r}: brackets belong around an IPv6 address, and only there")
        port = int(port_text)
        if not 0 < port < 65536:
            raise ValueError(f"{text!r}: port {port_text} is not between 1 and 65535")
        return cls(ip, port)
