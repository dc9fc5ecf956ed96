"""A recorded dialogue, frame by frame: tests/vectors/dialogue.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from lb_switch.files.pcap import create_capture, open_capture
from lb_switch.replay import Replay
from tests.replay.recordings import record
from tests.support.dialogue import make_switch
from tests.support.packets import differences, recomputed

VECTOR = Path(__file__).parents[1] / "vectors" / "dialogue.json"
ROWS: list[dict[str, Any]] = json.loads(VECTOR.read_text())["rows"]
COLUMNS = ("verdict", "reason", "virtual_server", "real_server", "direction", "state")


def recording() -> list[Any]:
    return [record(bytes.fromhex(row["frame"]), row["time"]) for row in ROWS]


def test_every_row_gets_its_verdict() -> None:
    for row, result in zip(ROWS, Replay(make_switch(), recording()), strict=True):
        expected = {column: row[column] for column in COLUMNS}
        shown = result.as_dict()
        assert {column: shown[column] for column in COLUMNS} == expected, row["sentence"]
        assert shown["time"] == pytest.approx(row["time"], abs=1e-6)


def test_every_row_sends_its_bytes() -> None:
    for row, result in zip(ROWS, Replay(make_switch(), recording()), strict=True):
        sent = [each.data for each in result.sent]
        if row["sent"] is not None:
            frames = [bytes.fromhex(each) for each in row["sent"]]
            for data, frame in zip(sent, frames, strict=True):
                assert differences(data[14:], frame[14:]) == [], row["sentence"]
                assert data[:14] == frame[:14], row["sentence"]
            continue
        (data,) = sent
        answer = Ether(data)
        for field, value in row["answer"].items():
            if field.startswith("eth_"):
                assert getattr(answer, field[4:]) == value
            elif field in ("src", "dst"):
                assert getattr(answer[IP], field) == value
            else:
                assert getattr(answer[TCP], field) == value, field
        assert data[14:] == recomputed(data[14:]), "checksums of an answer are complete"


@pytest.mark.parametrize("name", ["dialogue.pcap", "dialogue.pcapng"])
def test_through_files_it_is_the_same(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / name, tmp_path / f"sent-{name}"
    with create_capture(source) as out:
        for each in recording():
            out.write(each)
    sent = []
    with open_capture(source) as records, create_capture(target, like=records) as out:
        for result in Replay(make_switch(), records):
            for each in result.sent:
                sent.append(each)
                out.write(each)
    assert [each.data for each in sent] == [
        each.data for result in Replay(make_switch(), recording()) for each in result.sent
    ]
    with open_capture(target) as records:
        assert list(records) == sent
