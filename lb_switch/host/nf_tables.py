"""Delete an nf_tables table: what iptables-nft creates on first use but never takes away.

One nfnetlink batch (linux/netfilter/nfnetlink.h, nf_tables.h), because the `nft` program is often
not installed where iptables is.
"""

from __future__ import annotations

import errno
import socket
import struct

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYSTEM = 10
_DELETE_TABLE = _SUBSYSTEM << 8 | 2
_REQUEST, _ACK = 1, 4
_TABLE_NAME = 1
_FAMILIES = {"iptables": 2, "ip6tables": 10}
_ERROR = 2


def delete_table(program: str, table: str) -> None:
    """Delete the table that `program` (iptables, ip6tables) knows as `table`, with its chains.

    A table that is not there (iptables-legacy has none in nf_tables) is no error.  Raises OSError.
    """
    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), _TABLE_NAME) + name
    attribute += bytes(-len(attribute) % 4)
    batch = (
        _message(_BATCH_BEGIN, 0, 0, _SUBSYSTEM, b"")
        + _message(_DELETE_TABLE, _ACK, _FAMILIES[program], 0, attribute)
        + _message(_BATCH_END, 0, 0, _SUBSYSTEM, b"")
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5.0)
        netlink.sendto(batch, (0, 0))
        answer = netlink.recv(65536)
    kind, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    if kind == _ERROR and code not in (0, -errno.ENOENT):
        raise OSError(-code, errno.errorcode.get(-code, "?"))


def _message(kind: int, flags: int, family: int, resource: int, payload: bytes) -> bytes:
    header = struct.pack("=IHHII", 20 + len(payload), kind, _REQUEST | flags, kind, 0)
    return header + struct.pack("=BB", family, 0) + struct.pack("!H", resource) + payload
