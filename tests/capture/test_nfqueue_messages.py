"""Messages of the packet queue: found, answered in place, and as libnetfilter_queue has them."""

from __future__ import annotations

import ctypes
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.capture.nfqueue_messages import (
    ACCEPT,
    BEFORE_PACKET,
    DROP,
    MERGED,
    PARTIAL,
    PLAIN_VERDICT,
    MessageReader,
    QueuedPacket,
    acknowledged,
    aligned,
    copy_range,
    make_drop,
    merged_too,
    write_acceptance,
    write_verdict,
)
from tests.capture.queue_messages import (
    CAP_LEN,
    HARDWARE,
    INDEV_2,
    MARK,
    PACKET,
    PAYLOAD,
    POSTROUTING,
    SKB_INFO,
    Answer,
    acknowledgement,
    answers,
    attribute,
    message,
    packet_message,
)

PACKET_BYTES = bytes(range(61))
QUEUE = (100).to_bytes(2, "big")
ID = (0xA1B2C3D4).to_bytes(4, "big")
LAYOUTS = {
    "none": b"",
    "device": INDEV_2,
    "device and address": INDEV_2 + HARDWARE,
    "mark": attribute(MARK, b"\0\0\0\7") + INDEV_2 + HARDWARE,
    "odd sizes": attribute(77, b"x") + attribute(78, b"") + attribute(79, b"xyzab"),
    "checksum": INDEV_2 + attribute(SKB_INFO, b"\0\0\0\3"),
    "flagged": attribute(0x8000 | 30, attribute(1, b"abc")),
}


def read(reader: MessageReader, data: bytes, begin: int = 40) -> QueuedPacket | None:
    buffer = bytearray(random.Random(begin).randbytes(begin) + data + b"\xff" * 100)
    return reader.read(buffer, begin, len(data))


@pytest.mark.parametrize("others", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("hook", [0, POSTROUTING])
def test_a_packet_is_found_the_first_time_and_again(others: bytes, hook: int) -> None:
    reader = MessageReader()
    expected = PARTIAL | MERGED if others == LAYOUTS["checksum"] else 0
    for packet_id, packet in enumerate([PACKET_BYTES, b"E" * 20, b"x" * 1500]):
        data = packet_message(packet, packet_id, hook, others)
        found = read(reader, data)
        end = 40 + len(data)
        assert found == (
            packet_id.to_bytes(4, "big"),
            hook,
            end - len(packet),
            end,
            False,
            expected,
        )


def test_layouts_may_alternate() -> None:
    reader = MessageReader()
    for _ in range(3):
        for others in LAYOUTS.values():
            data = packet_message(PACKET_BYTES, others=others)
            found = read(reader, data)
            assert found is not None
            assert (40 + len(data) - 61, 40 + len(data)) == (found.start, found.end)


def test_the_kernel_says_that_a_packet_is_cut() -> None:
    reader = MessageReader()
    cut = packet_message(PACKET_BYTES, others=INDEV_2 + attribute(CAP_LEN, b"\0\0\xff\xff"))
    for data, expected in ((cut, True), (packet_message(PACKET_BYTES), False), (cut, True)) * 2:
        found = read(reader, data)
        assert found is not None
        assert found.cut is expected


@pytest.mark.parametrize("content", [b"", b"\0\0\3", bytes([0, 0, 0, 3]) * 2])
def test_information_of_another_size_says_nothing(content: bytes) -> None:
    reader = MessageReader()
    for _ in range(2):
        found = read(reader, packet_message(PACKET_BYTES, others=attribute(SKB_INFO, content)))
        assert found is not None
        assert found.info == 0


def test_a_packet_cannot_pose_as_the_attributes_before_it() -> None:
    """Its bytes stand where, in the layout before, the last attributes stood."""
    reader = MessageReader()
    long = packet_message(PACKET_BYTES, others=INDEV_2 + HARDWARE)
    assert read(reader, long)
    forged = long[20 + 12 + 8 + 4 :]
    data = packet_message(forged, others=INDEV_2)
    found = read(reader, data)
    assert found is not None
    assert found.end - found.start == len(forged)


def test_what_follows_the_packet_is_no_part_of_it() -> None:
    whole = attribute(1, struct.pack("!IHB", 9, 0x800, 0)) + attribute(PAYLOAD, PACKET_BYTES)
    data = message(PACKET, whole + INDEV_2)
    reader = MessageReader()
    for _ in range(2):
        found = read(reader, data)
        assert found is not None
        assert (found.start, found.end, found.cut) == (40 + 36, 40 + 36 + 61, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(16),
        acknowledgement(),
        acknowledgement(2) + bytes(100),
        message(PACKET, b""),
        message(PACKET, INDEV_2 * 3),
        message(0x301, packet_message(PACKET_BYTES)[20:]),
    ],
)
def test_other_messages_are_not_about_a_packet(data: bytes) -> None:
    reader = MessageReader()
    assert read(reader, data) is None
    assert read(reader, packet_message(PACKET_BYTES, others=b""))
    assert read(reader, data) is None


@given(others=st.sampled_from(list(LAYOUTS.values())), data=st.data())
def test_a_garbled_message_is_read_within_its_bounds_and_keeps_its_number(
    others: bytes, data: st.DataObject
) -> None:
    good = packet_message(PACKET_BYTES, 0xA1B2C3D4, others=others)
    bad = bytearray(good[: data.draw(st.integers(0, len(good)), "kept")])
    for _ in range(data.draw(st.integers(0, 3), "changes") if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    experienced, fresh = MessageReader(), MessageReader()
    assert read(experienced, good)
    found = read(experienced, bytes(bad))
    assert found == read(fresh, bytes(bad)), "what was remembered makes no difference"
    if found is not None:
        assert 40 <= found.start <= found.end <= 40 + len(bad)
        assert found.start >= 40 + BEFORE_PACKET or found.start == found.end
        assert found.packet_id == bytes(bad[24:28])
    elif len(bad) >= 32:
        assert bad[:32] != good[:32], "a packet whose number can be read gets a verdict"


def test_cut_off_anywhere_behind_its_number_it_is_empty_and_cut() -> None:
    good = packet_message(PACKET_BYTES, 0xA1B2C3D4)
    for size in range(32, len(good)):
        found = read(MessageReader(), good[:size])
        assert found == (ID, 0, 40 + size, 40 + size, True, 0)


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [ACCEPT, DROP])
def test_a_plain_verdict(verdict: bytes) -> None:
    buffer = bytearray(b"\xff" * 100)
    end = write_verdict(buffer, 8, QUEUE, ID, verdict)
    assert end == 8 + PLAIN_VERDICT
    assert list(answers(bytes(buffer[8:end]))) == [Answer(100, 0xA1B2C3D4, verdict[3], None)]
    assert set(buffer[:8] + buffer[end:]) == {0xFF}


@pytest.mark.parametrize("size", [1, 60, 61, 62, 63, 1500, 65531])
def test_a_rewritten_packet_is_accepted_where_it_lies(size: int) -> None:
    packet = bytes(range(256)) * 256
    buffer = bytearray(40) + packet[:size] + bytes(8)
    begin = write_acceptance(buffer, 40, 40 + size, QUEUE, ID)
    assert begin == 4
    [answer] = answers(bytes(buffer[begin : aligned(40 + size)]))
    assert answer == (100, 0xA1B2C3D4, 1, packet[:size])


def test_a_verdict_becomes_a_drop() -> None:
    buffer = bytearray(36) + PACKET_BYTES
    write_acceptance(buffer, 36, len(buffer), QUEUE, ID)
    assert list(answers(bytes(make_drop(memoryview(buffer))))) == [Answer(100, 0xA1B2C3D4, 0, None)]


def test_an_acknowledgement_is_told_from_a_packet() -> None:
    done, failed = acknowledgement(), acknowledgement(16)
    assert acknowledged(done, len(done)) == 0
    assert acknowledged(failed, len(failed)) == 16
    assert acknowledged(done, 19) is None
    data = packet_message(PACKET_BYTES)
    assert acknowledged(data, len(data)) is None


# --- the same by the C library that netfilterqueue is built on ------------------------------------


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL("libnetfilter_queue.so.1")
        _ = loaded.nfq_nlmsg_put
    except (OSError, AttributeError):
        pytest.skip("libnetfilter_queue 1.0.4 or later is not on this machine")
    loaded.nfq_nlmsg_put.restype = ctypes.c_void_p
    return loaded


@pytest.mark.parametrize("others", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_library_finds_the_same_packet(library: ctypes.CDLL, others: bytes) -> None:
    data = packet_message(PACKET_BYTES, 7, others=others)
    memory = ctypes.create_string_buffer(data, len(data))
    found = (ctypes.c_void_p * 64)()
    assert library.nfq_nlmsg_parse(memory, found) >= 0
    payload = found[PAYLOAD]
    assert payload is not None
    ours = read(MessageReader(), data)
    assert ours is not None
    assert ours.start - 40 == payload + 4 - ctypes.addressof(memory)
    assert found[1] is not None
    assert ours.packet_id == ctypes.string_at(found[1] + 4, 4)


def reference(library: ctypes.CDLL, kind: int) -> tuple[ctypes.Array[ctypes.c_char], int]:
    memory = ctypes.create_string_buffer(4096)
    address = library.nfq_nlmsg_put(memory, kind & 0xFF, 100)
    assert address == ctypes.addressof(memory)
    return memory, address


def written(memory: ctypes.Array[ctypes.c_char]) -> bytes:
    (length,) = struct.unpack_from("=I", memory.raw)
    return memory.raw[:length]


def put(memory: ctypes.Array[ctypes.c_char], kind: int, content: bytes) -> None:
    """libmnl's mnl_attr_put, which the library leaves to its callers."""
    mnl = ctypes.CDLL("libmnl.so.0")
    mnl.mnl_attr_put(memory, ctypes.c_uint16(kind), ctypes.c_size_t(len(content)), content)


@pytest.mark.parametrize("verdict", [ACCEPT, DROP])
def test_the_library_writes_the_same_verdict(library: ctypes.CDLL, verdict: bytes) -> None:
    memory, _ = reference(library, 0x301)
    library.nfq_nlmsg_verdict_put(memory, ctypes.c_int(0xA1B2C3D4), int.from_bytes(verdict, "big"))
    buffer = bytearray(b"\xff" * 50)
    end = write_verdict(buffer, 0, QUEUE, ID, verdict)
    # `pack_into` leaves no byte of the question: pads are zeroes.
    assert buffer[:end] == written(memory)


@pytest.mark.parametrize("size", [60, 61, 62, 63])
def test_the_library_writes_the_same_acceptance(library: ctypes.CDLL, size: int) -> None:
    packet = bytes(range(size))
    memory, _ = reference(library, 0x301)
    library.nfq_nlmsg_verdict_put(memory, ctypes.c_int(0xA1B2C3D4), 1)
    library.nfq_nlmsg_verdict_put_pkt(memory, packet, size)
    expected = written(memory)
    buffer = bytearray(b"\xff" * BEFORE_PACKET) + packet + bytes(4)
    begin = write_acceptance(buffer, BEFORE_PACKET, BEFORE_PACKET + size, QUEUE, ID)
    # It counts the padding of the last attribute too; the kernel does not need that.
    assert buffer[4 : aligned(BEFORE_PACKET + size)] == expected[4:]
    assert aligned(struct.unpack_from("=I", buffer, begin)[0]) == len(expected)


def test_the_library_asks_for_the_same_copy_range(library: ctypes.CDLL) -> None:
    memory, _ = reference(library, 0x302)
    library.nfq_nlmsg_cfg_put_params(memory, 2, 65535)
    expected = bytearray(written(memory))
    expected[6] |= 4  # NLM_F_ACK
    assert copy_range(QUEUE, 65535) == expected


def test_the_library_asks_for_merged_packets_in_the_same_way(library: ctypes.CDLL) -> None:
    memory, _ = reference(library, 0x302)
    for kind in (5, 4):  # NFQA_CFG_FLAGS, NFQA_CFG_MASK
        put(memory, kind, (4).to_bytes(4, "big"))
    expected = bytearray(written(memory))
    expected[6] |= 4  # NLM_F_ACK
    assert merged_too(QUEUE) == expected
