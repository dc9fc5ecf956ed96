"""The checksum arithmetic: by hand it gives what the switch wrote and what scapy computes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.explain.checksums import Update, result, steps, updates
from lb_switch.stream.schema import PacketRecord
from tests.explain import told
from tests.support.dialogue import CLIENT, CLIENT6, VIP, VIP6, make_switch, send
from tests.support.packets import corrupted, recomputed, tcp, udp

PACKETS = [record for record in told.records() if isinstance(record, PacketRecord)]


def of(record: PacketRecord) -> list[Update]:
    return list(updates(record.bytes_before, record.bytes_after, record.whole, record.partial))


@pytest.mark.parametrize("record", PACKETS, ids=lambda record: f"{record.number}")
def test_the_arithmetic_gives_what_the_switch_wrote(record: PacketRecord) -> None:
    for update in of(record):
        if not update.absent:
            assert result(update) == update.new, update.name


@pytest.mark.parametrize(
    ("number", "names"),
    [
        (1, ["IPv4 header checksum", "TCP checksum"]),
        (14, []),
        (15, ["IPv4 header checksum", "UDP checksum"]),
        (
            16,
            [
                "quoted IPv4 header checksum",
                "quoted UDP checksum",
                "IPv4 header checksum",
                "ICMP checksum",
            ],
        ),
        (22, ["TCP checksum"]),
    ],
)
def test_which_checksums_are_updated(number: int, names: list[str]) -> None:
    assert [update.name for update in of(told.packet(number))] == names


def test_the_words_of_a_syn() -> None:
    _ip, tcp_update = of(told.packet(1))
    assert [(word.name, word.old, word.new) for word in tcp_update.words] == [
        ("destination, word 2", 0x0164, 0x020B),
        ("destination port", 80, 8080),
    ]
    assert [step.added for step in steps(tcp_update)] == [0xFE9B, 0x020B, 0xFFAF, 0x1F90]
    assert all(
        step.folded == step.total % 0x10000 + step.total // 0x10000 for step in steps(tcp_update)
    )


def test_an_icmp_error_covers_the_checksums_that_it_quotes() -> None:
    *_, icmp = of(told.packet(16))
    assert [word.name for word in icmp.words] == [
        "quoted IPv4 header checksum",
        "quoted IPv4 destination, word 2",
        "quoted UDP destination port",
        "quoted UDP checksum",
    ]


def test_udp_without_a_checksum_stays_without() -> None:
    _ip, update = of(told.packet(18))
    assert update.absent
    assert (update.old, update.new) == (0, 0)


def test_a_partial_checksum_covers_no_ports_and_is_not_inverted() -> None:
    _ip, update = of(told.packet(20))
    assert update.partial
    assert [word.name for word in update.words] == ["destination, word 2"]
    # The pseudo-header of the packet as it goes on: 0a00 + 010b + 0a00 + 020b + 0006 + 0014.
    assert result(update) == update.new == update.recomputed == 0x1730


def test_damage_stays_visible() -> None:
    _ip, update = of(told.packet(19))
    assert update.recomputed_before != update.old
    assert update.recomputed != update.new
    assert result(update) == update.new


def test_without_the_whole_packet_there_is_no_recomputation() -> None:
    record = told.packet(5)
    assert record.length > len(record.bytes_before)
    ip, update = of(record)
    assert ip.recomputed == ip.new, "the IP header is whole"
    assert update.recomputed is None
    assert result(update) == update.new


ENDS = [(CLIENT, VIP, tcp), (CLIENT, VIP, udp), (CLIENT6, VIP6, tcp), (CLIENT6, VIP6, udp)]


@settings(max_examples=150)
@given(
    st.sampled_from(ENDS),
    st.integers(1024, 65535),
    st.binary(min_size=1, max_size=90),
    st.booleans(),
)
def test_any_packet(
    ends: tuple[tuple[str, int], tuple[str, int], object], port: int, payload: bytes, harm: bool
) -> None:
    client, vip, make = ends
    rip = ("2001:db8:2::11", 8080) if ":" in vip[0] else ("10.0.2.11", 8080)
    if make is tcp:
        packet = tcp((client[0], port), vip, "S", payload)
    else:
        packet = udp((client[0], port), vip, payload)
    if harm:
        packet = corrupted(packet, len(packet) - 1)
    seen = send(make_switch(vip, (rip,)), packet)
    found = list(updates(packet, seen.data, whole=True, partial=False))
    assert found
    right = recomputed(seen.data)
    for update in found:
        assert result(update) == update.new
        if not harm:
            assert update.recomputed == update.new
            assert update.recomputed_before == update.old
    assert harm or right == seen.data
