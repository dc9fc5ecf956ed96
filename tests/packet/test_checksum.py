"""Our checksum arithmetic against scapy's full computation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from lb_switch.engine.packet import checksum

words = st.binary(min_size=2, max_size=2)


@given(st.binary(max_size=200))
def test_the_checksum_is_scapys(data: bytes) -> None:
    assert checksum.internet_checksum(data) == scapy_checksum(data)


@pytest.mark.parametrize("size", [2047, 2048, 2049, 4095, 4096, 4097, 65_535])
def test_large_data_too(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert checksum.internet_checksum(data) == scapy_checksum(data)
    words = sum(data[0::2]) * 256 + sum(data[1::2])
    assert checksum.ones_complement_sum(memoryview(data), 0x1234) == checksum.fold(words + 0x1234)


@pytest.mark.parametrize(
    ("data", "initial", "total"),
    [(b"", 0, 0), (bytes(5), 0, 0), (b"\xff\xff", 0, 0xFFFF), (bytes(4), 0xFFFF, 0xFFFF)],
)
def test_only_nothing_but_zeros_sums_up_to_zero(data: bytes, initial: int, total: int) -> None:
    assert checksum.ones_complement_sum(data, initial) == total


def test_the_example_of_rfc_1071() -> None:
    data = bytes([0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])
    assert checksum.ones_complement_sum(data) == 0xDDF2


def test_the_example_of_rfc_1624() -> None:
    # Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285; equation 3 gives 0x0000, not 0xFFFF.
    assert checksum.update(0xDD2F, checksum.delta(b"\x55\x55", b"\x32\x85")) == 0x0000


@given(st.binary(min_size=40, max_size=40), st.integers(0, 9), st.binary(min_size=4, max_size=4))
def test_an_update_is_a_full_computation(data: bytes, word: int, new: bytes) -> None:
    at = word * 4
    changed = data[:at] + new + data[at + 4 :]
    before = checksum.internet_checksum(data)
    updated = checksum.update(before, checksum.delta(data[at : at + 4], new))
    full = checksum.internet_checksum(changed)
    # 0x0000 and 0xFFFF both say zero in one's complement; only all-zero data computes to 0xFFFF.
    assert updated == full or {updated, full} == {0x0000, 0xFFFF}


@given(words, words, words, words)
def test_deltas_add_up(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    both = checksum.delta(a + c, b + d)
    assert checksum.fold(checksum.delta(a, b) + checksum.delta(c, d)) == both


@given(st.integers(1, 0xFFFF), words, words)
def test_a_udp_checksum_never_becomes_zero(old: int, m: bytes, m2: bytes) -> None:
    assert checksum.update_udp(old, checksum.delta(m, m2)) != 0


@given(words, words)
def test_no_udp_checksum_stays_none(m: bytes, m2: bytes) -> None:
    assert checksum.update_udp(0, checksum.delta(m, m2)) == 0


@given(st.binary(min_size=12, max_size=12), st.binary(min_size=4, max_size=4))
def test_a_partial_checksum_is_a_plain_sum(data: bytes, new: bytes) -> None:
    before = checksum.ones_complement_sum(data)
    after = checksum.ones_complement_sum(new + data[4:])
    updated = checksum.update_partial(before, checksum.delta(data[:4], new))
    assert updated == after or {updated, after} == {0x0000, 0xFFFF}
