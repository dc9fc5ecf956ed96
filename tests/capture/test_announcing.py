"""Announcements of an address, byte by byte as scapy makes them."""

from __future__ import annotations

import ipaddress

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from lb_switch.host.announcing import advertisement, announce, gratuitous_arp

MAC = bytes.fromhex("020000000101")
TEXT = "02:00:00:00:01:01"


def test_gratuitous_arp() -> None:
    ip = ipaddress.IPv4Address("10.0.1.100")
    expected = Ether(src=TEXT, dst="ff:ff:ff:ff:ff:ff", type=0x0806) / ARP(
        op=1, hwsrc=TEXT, psrc=str(ip), hwdst="00:00:00:00:00:00", pdst=str(ip)
    )
    assert gratuitous_arp(MAC, ip) == bytes(expected)


def test_an_unsolicited_neighbour_advertisement() -> None:
    ip = ipaddress.IPv6Address("2001:db8:1::100")
    expected = (
        Ether(src=TEXT, dst="33:33:00:00:00:01", type=0x86DD)
        / IPv6(src=str(ip), dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=1, S=0, O=1, tgt=str(ip))
        / ICMPv6NDOptDstLLAddr(lladdr=TEXT)
    )
    assert advertisement(MAC, ip) == bytes(expected)


def test_where_it_cannot_be_said() -> None:
    ip = ipaddress.ip_address("10.0.1.100")
    assert not announce("nothere0", ip)
    assert not announce("lo", ip), "no Ethernet"
