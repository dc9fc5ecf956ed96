"""Capture files: scapy reads what we write, we read what scapy writes, and damage is one error."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader, RawPcapNgWriter, RawPcapReader, RawPcapWriter

from lb_switch.files.pcap import create_capture, open_capture
from lb_switch.files.record import CapturedPacket, CaptureFileError, CaptureInterface

ETHERNET, RAW, COOKED = 1, 101, 113

frames = st.binary(max_size=100)
times = st.integers(0, 2**32 * 10**9 - 1)


def read(path: Path) -> list[CapturedPacket]:
    with open_capture(path) as records:
        return list(records)


def read_with_error(path: Path) -> tuple[list[CapturedPacket], str]:
    """Return what was whole, and the error that ended it ("" at a proper end)."""
    whole: list[CapturedPacket] = []
    try:
        with open_capture(path) as records:
            for record in records:
                whole.append(record)
    except CaptureFileError as error:
        return whole, str(error)
    return whole, ""


def write(path: Path, records: Iterable[CapturedPacket]) -> None:
    with create_capture(path) as out:
        for record in records:
            out.write(record)


def record(
    data: bytes, time_ns: int = 0, interface: CaptureInterface | None = None, wire_length: int = -1
) -> CapturedPacket:
    length = len(data) if wire_length < 0 else wire_length
    return CapturedPacket(time_ns, interface or CaptureInterface(0, ETHERNET), data, length)


# -- round trips and scapy as the oracle -------------------------------------------------------


@given(st.lists(st.tuples(frames, times, st.integers(0, 100))))
@settings(max_examples=50)
def test_pcapng_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("pcapng") / "file.pcapng"
    interfaces = [
        CaptureInterface(0, ETHERNET, "eth0"),
        CaptureInterface(1, COOKED, "ány"),
        CaptureInterface(2, RAW),
    ]
    records: list[CapturedPacket] = []
    order: list[CaptureInterface] = []
    for data, time_ns, more in rows:
        interface = interfaces[more % 3]
        records.append(record(data, time_ns, interface, len(data) + more))
        if interface not in order:
            order.append(interface)
    write(path, records)
    numbered = {
        each: CaptureInterface(i, each.link_type, each.name) for i, each in enumerate(order)
    }
    assert read(path) == [each._replace(interface=numbered[each.interface]) for each in records]


@given(st.lists(st.tuples(frames, times, st.integers(0, 100))))
@settings(max_examples=50)
def test_pcap_gives_back_what_was_written_to_the_microsecond(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("pcap") / "file.pcap"
    records = [record(data, time_ns, wire_length=len(data) + more) for data, time_ns, more in rows]
    write(path, records)
    assert read(path) == [each._replace(time_ns=each.time_ns // 1000 * 1000) for each in records]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_scapys_pcap_is_read(tmp_path: Path, order: str, nanoseconds: bool) -> None:
    path = tmp_path / "scapy.pcap"
    writer = RawPcapWriter(str(path), linktype=RAW, endianness=order, nano=nanoseconds)
    writer.write_header(None)
    writer.write_packet(b"first", sec=1700000000, usec=123456)
    writer.write_packet(b"second", sec=1700000001, usec=7, wirelen=1500)
    writer.close()
    unit = 1 if nanoseconds else 1000
    raw = CaptureInterface(0, RAW)
    assert read(path) == [
        CapturedPacket(1700000000_000000000 + 123456 * unit, raw, b"first", 5),
        CapturedPacket(1700000001_000000000 + 7 * unit, raw, b"second", 1500),
    ]


def test_scapys_pcapng_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scapy.pcapng"
    writer = RawPcapNgWriter(str(path))
    writer.linktype = COOKED
    writer.write_header(None)
    writer.write_packet(b"first", sec=1700000000.25)
    writer._write_packet(b"second", linktype=RAW, sec=1700000001.5, ifname=b"tun0")
    writer.close()
    assert read(path) == [
        CapturedPacket(1700000000_250000000, CaptureInterface(0, COOKED), b"first", 5),
        CapturedPacket(1700000001_500000000, CaptureInterface(1, RAW, "tun0"), b"second", 6),
    ]


def test_scapy_reads_our_pcap(tmp_path: Path) -> None:
    path = tmp_path / "ours.pcap"
    write(path, [record(b"packet", 1700000000_123456789, wire_length=60)])
    with RawPcapReader(str(path)) as reader:
        assert reader.linktype == ETHERNET
        ((data, metadata),) = list(reader)
    assert data == b"packet"
    assert (metadata.sec, metadata.usec) == (1700000000, 123456)
    assert (metadata.caplen, metadata.wirelen) == (6, 60)


def test_scapy_reads_our_pcapng(tmp_path: Path) -> None:
    path = tmp_path / "ours.pcapng"
    records = [
        record(b"one", 1700000000_123456789, CaptureInterface(0, ETHERNET, "eth0")),
        record(b"three", 1700000001_000000001, CaptureInterface(1, RAW)),
    ]
    write(path, records)
    with RawPcapNgReader(str(path)) as reader:
        seen = [
            ((meta.tshigh << 32) + meta.tslow, meta.tsresol, meta.linktype, data)
            for data, meta in reader
        ]
    assert seen == [
        (1700000000_123456789, 10**9, ETHERNET, b"one"),
        (1700000001_000000001, 10**9, RAW, b"three"),
    ]


def test_a_pcap_like_the_input_has_its_link_type_and_precision(tmp_path: Path) -> None:
    source, target = tmp_path / "in.pcapng", tmp_path / "out.pcap"
    records = [record(b"x", 1700000000_000000001, CaptureInterface(0, COOKED))]
    write(source, records)
    with open_capture(source) as reader:
        first = next(iter(reader))
        with create_capture(target, like=reader) as out:
            out.write(first)
    assert read(target) == records


def test_an_input_without_packets_still_gives_a_valid_output(tmp_path: Path) -> None:
    source = tmp_path / "in.pcap"
    writer = RawPcapWriter(str(source), linktype=RAW)
    writer.write_header(None)
    writer.close()
    for name in ("out.pcap", "out.pcapng"):
        with open_capture(source) as reader, create_capture(tmp_path / name, like=reader):
            assert list(reader) == []
        assert read(tmp_path / name) == []
    with open_capture(tmp_path / "out.pcap") as reader:
        assert reader.interfaces == [CaptureInterface(0, RAW)]


# -- pcapng, block by block --------------------------------------------------------------------


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)


def section(order: str = "<", major: int = 1) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, major, 0, -1))


def interface(order: str, link_type: int, snap_length: int = 0, options: bytes = b"") -> bytes:
    return block(order, 1, struct.pack(f"{order}HHI", link_type, 0, snap_length) + options)


def enhanced(order: str, number: int, ticks: int, data: bytes, kept: int = -1) -> bytes:
    length = len(data) if kept < 0 else kept
    fields = (number, ticks >> 32, ticks & 0xFFFFFFFF, length, length)
    return block(order, 6, struct.pack(f"{order}5I", *fields) + data)


def test_sections_start_afresh_each_with_its_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "sections.pcapng"
    path.write_bytes(
        section("<") + interface("<", ETHERNET) + enhanced("<", 0, 1_000_000, b"little")
        + section(">") + interface(">", RAW) + enhanced(">", 0, 2_000_000, b"big")
    )  # fmt: skip
    assert read(path) == [
        CapturedPacket(1_000_000_000, CaptureInterface(0, ETHERNET), b"little", 6),
        CapturedPacket(2_000_000_000, CaptureInterface(1, RAW), b"big", 3),
    ]


def test_an_interface_of_the_last_section_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "sections.pcapng"
    path.write_bytes(
        section() + interface("<", ETHERNET) + enhanced("<", 0, 0, b"x")
        + section() + enhanced("<", 0, 0, b"y")
    )  # fmt: skip
    whole, error = read_with_error(path)
    assert [each.data for each in whole] == [b"x"]
    assert error.endswith("is damaged: packet 2: interface 0 was never described")


@pytest.mark.parametrize(
    ("options", "nanoseconds"),
    [
        (struct.pack("<HHBxxx", 9, 1, 3), 5_000_000_000),
        (struct.pack("<HHBxxx", 9, 1, 0x80 | 10), 5000 * 10**9 // 1024),
        (struct.pack("<HHq", 14, 8, 100), 100_005_000_000),
        (struct.pack("<HH4s", 2, 4, b"eth0") + struct.pack("<HH", 0, 0), 5_000_000),
    ],
    ids=["milliseconds", "1/1024 s", "offset of 100 s", "a name, then microseconds"],
)
def test_the_clock_of_an_interface(tmp_path: Path, options: bytes, nanoseconds: int) -> None:
    path = tmp_path / "clock.pcapng"
    path.write_bytes(
        section() + interface("<", RAW, options=options) + enhanced("<", 0, 5000, b"x")
    )
    assert [each.time_ns for each in read(path)] == [nanoseconds]


@pytest.mark.parametrize(
    "options",
    [
        struct.pack("<HHq", 14, 8, 8 * 10**17),
        struct.pack("<HHq", 14, 8, -8 * 10**17),
        struct.pack("<HHBxxx", 9, 1, 0),
    ],
    ids=["an offset", "a negative offset", "whole seconds"],
)
def test_times_that_no_clock_shows(tmp_path: Path, options: bytes) -> None:
    """A replay whose clock goes in steps of minutes would never come to its end."""
    path = tmp_path / "clock.pcapng"
    late = enhanced("<", 0, 2**63, b"x")
    path.write_bytes(section() + interface("<", RAW, options=options) + late)
    with pytest.raises(CaptureFileError, match=r"packet 1: its time is centuries away$"):
        read(path)


def test_simple_and_obsolete_packets_and_unknown_blocks(tmp_path: Path) -> None:
    path = tmp_path / "kinds.pcapng"
    path.write_bytes(
        section() + interface("<", RAW, snap_length=4)
        + block("<", 0xBAD, b"skip me")
        + block("<", 2, struct.pack("<HH4I", 0, 0, 0, 3_000_000, 3, 9) + b"old")
        + block("<", 3, struct.pack("<I", 6) + b"simp")
        + block("<", 5, bytes(12))
    )  # fmt: skip
    raw = CaptureInterface(0, RAW)
    assert read(path) == [
        CapturedPacket(3_000_000_000, raw, b"old", 9),
        # It has no time of its own, and is cut at the interface's snap length.
        CapturedPacket(3_000_000_000, raw, b"simp", 6),
    ]


def test_the_options_of_a_packet_are_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "comment.pcapng"
    body = struct.pack("<5I", 0, 0, 0, 3, 3) + b"abc\0" + struct.pack("<HH4s", 1, 4, b"note")
    path.write_bytes(section() + interface("<", RAW) + block("<", 6, body))
    assert [each.data for each in read(path)] == [b"abc"]


# -- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file.pcap", "file.pcapng"])
def test_a_file_cut_anywhere_delivers_what_is_whole_and_one_error(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    records = [record(bytes([i]) * (20 + i), i * 10**9) for i in range(3)]
    write(path, records)
    content = path.read_bytes()
    proper_ends = 0
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        whole, error = read_with_error(path)
        assert whole == records[: len(whole)]
        assert len(whole) < len(records)
        proper_ends += not error
        assert "\n" not in error
        if error:
            assert error.startswith(f"{path}: ends ") or "is not a pcap" in error
    # Between the headers and each of the packets; pcapng writes its interface with the first.
    assert proper_ends == (3 if name == "file.pcap" else 4)


def test_the_error_names_the_packet_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    write(path, [record(b"whole"), record(b"not whole")])
    path.write_bytes(path.read_bytes()[:-1])
    assert read_with_error(path)[1] == f"{path}: ends in the middle of packet 2"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty: not a pcap or pcapng file"),
        (b"\xa1", "ends in the middle of the magic number"),
        (b"this is a text file", "is not a pcap or pcapng file"),
        (b"\x1f\x8b\x08\x00 compressed", "is not a pcap or pcapng file"),
        (b"\xd4\xc3\xb2\xa1\x09\x00" + bytes(18), "has pcap version 9, not 2"),
        (b"\xd4\xc3\xb2\xa1\x02", "ends in the middle of the file header"),
        (section(major=2), "has pcapng version 2, not 1"),
        (section()[:8] + b"abcd", "is not a pcapng file: no byte-order magic"),
        (section()[:4] + b"\xff\xff\xff\xff" + section()[8:], "a block claims to be 4294967295"),
        (section()[:-1] + b"\xff", "28 bytes long at its start and 4278190108 at its end"),
        (section() + struct.pack("<II", 1, 3), "a block claims to be 3 bytes long"),
        (section() + block("<", 1, b"tiny"), "an interface description: unpack_from"),
        (section() + interface("<", 1) + enhanced("<", 1, 0, b"x"), "packet 1: interface 1 was"),
        (
            section() + interface("<", 1) + enhanced("<", 0, 0, b"abcd", 5),
            "packet 1: it claims 5 bytes in a block of 4",
        ),
        (
            b"\xd4\xc3\xb2\xa1\x02\x00" + bytes(18) + struct.pack("<4I", 0, 0, 2**32 - 1, 1),
            "packet 1 claims to be 4294967295 bytes long",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "wrong"
    path.write_bytes(content)
    whole, error = read_with_error(path)
    assert whole == []
    assert error.startswith(f"{path}: ")
    assert problem in error
    assert "\n" not in error


@given(
    st.sampled_from([b"\xa1\xb2\xc3\xd4\x00\x02", b"\x4d\x3c\xb2\xa1\x02\x00", section()]),
    st.lists(
        st.binary(max_size=60)
        | st.builds(block, st.just("<"), st.integers(1, 6), st.binary(max_size=60))
        | st.just(interface("<", 1)),
        max_size=6,
    ),
)
@settings(max_examples=300)
def test_arbitrary_bytes_raise_nothing_but_the_one_error(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, parts: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary"
    path.write_bytes(head + b"".join(parts))
    for each in read_with_error(path)[0]:
        assert isinstance(each, CapturedPacket)


def test_a_missing_file_a_directory_and_an_impossible_target(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match=r"No such file or directory$"):
        open_capture(tmp_path / "missing.pcap")
    with pytest.raises(CaptureFileError, match=r"Is a directory$"):
        open_capture(tmp_path)
    with pytest.raises(CaptureFileError, match=r"No such file or directory$"):
        create_capture(tmp_path / "missing" / "out.pcap")


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    write(path, [record(b"precious")])
    content = path.read_bytes()
    link = tmp_path / "link.pcap"
    link.symlink_to(path)
    with open_capture(path) as reader:
        for target in (path, link):
            with pytest.raises(CaptureFileError, match="is the input file"):
                create_capture(target, like=reader)
    assert path.read_bytes() == content


def test_a_pcap_file_refuses_a_second_link_type(tmp_path: Path) -> None:
    with create_capture(tmp_path / "out.pcap") as out:
        out.write(record(b"fine"))
        with pytest.raises(
            CaptureFileError, match=r"one link type .*\(1 and 101\): write a .pcapng"
        ):
            out.write(record(b"x", interface=CaptureInterface(1, RAW)))


@pytest.mark.parametrize("name", ["out.pcap", "out.pcapng"])
def test_a_time_that_the_format_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with create_capture(tmp_path / name) as out:
        for time_ns in (-1, 2**64):
            with pytest.raises(CaptureFileError, match="cannot hold the time"):
                out.write(record(b"x", time_ns))


def test_a_full_disk_is_one_clear_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(CaptureFileError, match=r"^/dev/full: No space left on device$"):
        write(full, [record(bytes(1000))] * 100)
