"""A packet of which the kernel delivered only the beginning is recognised."""

from __future__ import annotations

import pytest

from lb_switch.capture.nfqueue import is_cut
from tests.support.packets import udp

V4 = udp(("10.0.1.2", 1), ("10.0.2.2", 2), bytes(100))
V6 = udp(("fd00::1", 1), ("fd00::2", 2), bytes(100))


@pytest.mark.parametrize("packet", [V4, V6])
def test_cut_whole_and_padded(packet: bytes) -> None:
    buffer = bytearray(packet + bytes(10))
    assert is_cut(buffer, len(packet) - 1)
    assert not is_cut(buffer, len(packet))
    assert not is_cut(buffer, len(packet) + 10)


@pytest.mark.parametrize("packet", [V4, V6])
@pytest.mark.parametrize("size", [0, 1, 3])
def test_what_is_shorter_than_the_length_field_is_the_engines_to_judge(
    packet: bytes, size: int
) -> None:
    assert not is_cut(bytearray(packet), size)
