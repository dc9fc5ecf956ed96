"""Which addresses nobody can send from."""

from __future__ import annotations

import ipaddress

import pytest

from lb_switch.engine.packet.nobody import is_nobodys

NOBODYS = [
    "0.0.0.0",
    "0.255.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.1.11",
    "::ffff:0.0.0.0",
    "ff02::1",
    "ffff::1",
]
SOMEBODYS = [
    "1.0.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "10.0.1.11",
    "192.0.2.1",
    "223.255.255.255",
    "::2",
    "::fffe:7f00:1",
    "0:0:0:0:1:ffff:7f00:1",
    "64:ff9b::7f00:1",
    "2001:db8::1",
    "fd00::1",
    "fe80::1",
    "feff::1",
]


@pytest.mark.parametrize(
    ("text", "nobodys"),
    [*((each, True) for each in NOBODYS), *((each, False) for each in SOMEBODYS)],
)
def test_nobodys(text: str, nobodys: bool) -> None:
    assert is_nobodys(ipaddress.ip_address(text).packed) is nobodys
