"""Reading a recording: what is whole is shown, and one clear line says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from lb_switch.explain.selection import NothingSelectedError, Selection
from lb_switch.stream.recording import Recording, RecordingError
from lb_switch.stream.schema import EndRecord, PacketRecord, Record, ServerRecord
from tests.explain import told

WHOLE = told.lines()


def read(lines: Iterable[bytes]) -> tuple[list[Record], str]:
    """Return what could be read, and the error."""
    records: list[Record] = []

    def take() -> None:
        for record in Recording(lines, "rec.jsonl"):
            records.append(record)

    with pytest.raises(RecordingError) as caught:
        take()
    assert "\n" not in str(caught.value)
    return records, str(caught.value)


def test_a_whole_one_ends_with_its_end() -> None:
    records = list(Recording(WHOLE, "rec.jsonl"))
    assert len(records) == len(WHOLE) - 1
    assert isinstance(records[-1], EndRecord)
    assert records[-1].packets == 30


def test_cut_off_in_a_line() -> None:
    records, error = read([*WHOLE[:10], WHOLE[10][:-20]])
    assert len(records) == 9
    assert error == "rec.jsonl: cut off in line 11; what came before is whole: 9 events"


def test_cut_off_between_two_lines() -> None:
    records, error = read(WHOLE[:11])
    assert len(records) == 10
    assert error == (
        "rec.jsonl: cut off after line 11: the last line is missing, which a killed switch does"
        " not write; what came before is whole: 10 events"
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "empty, so no recording"),
        ([b"\xd4\xc3\xb2\xa1\x02\x00"], "a packet capture, not a recording (lb-switch replay"),
        ([b"\x0a\x0d\x0d\x0a\x1c\x00"], "a packet capture, not a recording (lb-switch replay"),
        ([b"Dear Sir\n"], "no recording: the first line is no header (see lb-switch run -h)"),
        ([b"[1, 2]\n"], "no recording: the first line is no header"),
        ([b'{"event":"end"}\n'], "no recording: the first line is no header"),
    ],
)
def test_what_is_no_recording(lines: list[bytes], problem: str) -> None:
    assert read(lines)[1].startswith(f"rec.jsonl: {problem}")


def test_another_version() -> None:
    header = {**json.loads(WHOLE[0]), "version": 7, "colour": "red"}
    error = read([json.dumps(header).encode() + b"\n", *WHOLE[1:]])[1]
    assert error == "rec.jsonl: a recording of version 7; this program reads 3"


def test_a_header_that_lacks_something() -> None:
    header = json.loads(WHOLE[0])
    del header["hosts"]
    error = read([json.dumps(header).encode() + b"\n"])[1]
    assert error == "rec.jsonl: line 1: hosts: Field required"


def test_a_line_that_is_damaged() -> None:
    records, error = read([*WHOLE[:5], b'{"event":"packet"}\n', *WHOLE[5:]])
    assert len(records) == 4
    assert error.startswith("rec.jsonl: line 6: packet.")


def test_something_behind_the_end() -> None:
    assert read([*WHOLE, WHOLE[1]])[1].endswith("something follows the end of the recording")


def packets(**selection: object) -> list[int]:
    chosen = Selection(**selection)  # type: ignore[arg-type]
    records = chosen.of(Recording(WHOLE, "rec.jsonl"))
    return [record.number for record in records if isinstance(record, PacketRecord)]


def test_seek_by_time() -> None:
    assert packets(start=2.0) == list(range(22, 31))


def test_seek_by_packet() -> None:
    assert packets(first_packet=7, last_packet=7) == [7]
    assert packets(first_packet=7, last_packet=9) == [7, 8, 9]
    assert packets(first_packet=29) == [29, 30]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ("1", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("10.0.1.11:44000", [26, 27, 28, 29]),  # 29 found it ended, and ended it
        ("2001:db8:1::11", [22, 23]),
        ("[2001:db8:1::11]:40000", [22, 23]),
    ],
)
def test_one_connection(which: str, found: list[int]) -> None:
    assert packets(connection=which) == found


def test_what_its_real_server_meets_while_it_lives_belongs_to_a_connection() -> None:
    def servers(connection: str) -> list[str]:
        records = Selection(connection=connection).of(Recording(WHOLE, "rec.jsonl"))
        return [record.finding for record in records if isinstance(record, ServerRecord)]

    assert servers("7") == ["timeout after 1.0 s"]
    assert servers("5") == []  # another real server
    assert servers("6") == []


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [
        ({"first_packet": 31, "last_packet": 31}, "no packet 31; the last is 30"),
        ({"first_packet": 40, "last_packet": 50}, "no packet 40-50; the last is 30"),
        ({"first_packet": 31}, "no packet 31-; the last is 30"),
        ({"connection": "nobody"}, "no packet of connection nobody"),
        ({"start": 1000.0}, "no packet later than 1000 s"),
        (
            {"first_packet": 10, "last_packet": 10, "connection": "1"},
            "no packet 10 of connection 1",
        ),
        ({"first_packet": 1, "last_packet": 2, "start": 2.0}, "no packet 1-2 later than 2 s"),
    ],
)
def test_a_part_that_is_empty_is_named(selection: dict[str, object], complaint: str) -> None:
    with pytest.raises(NothingSelectedError) as caught:
        packets(**selection)
    assert str(caught.value) == f"rec.jsonl: {complaint}"


def test_a_recording_without_packets_is_whole_but_no_packet_is_in_it() -> None:
    silent = [WHOLE[0], WHOLE[-1]]
    assert len(list(Selection().of(Recording(silent, "x")))) == 1
    with pytest.raises(NothingSelectedError, match=r"^x: no packet is in it$"):
        list(Selection(first_packet=1, last_packet=1).of(Recording(silent, "x")))


def test_by_the_clients_name_all_of_its_connections() -> None:
    found = packets(connection="c1")
    assert found[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert {22, 24, 26} <= set(found)
    assert not {10, 12, 13} & set(found), "packets of no connection"


def test_seeking_a_packet_reads_no_further() -> None:
    lines = iter(WHOLE)
    assert Selection(first_packet=1, last_packet=2).of(Recording(lines, "rec.jsonl"))
    selected = list(Selection(first_packet=3, last_packet=4).of(Recording(WHOLE[:12], "x")))
    assert [each.number for each in selected if isinstance(each, PacketRecord)] == [3, 4]
