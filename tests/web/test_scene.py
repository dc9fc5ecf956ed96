"""What the page draws and says equals what `explain` and `show` say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lb_switch import examples
from lb_switch.explain.dissect import dissect
from lb_switch.explain.rungs import Rungs
from lb_switch.stream.picture import Picture
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import ConnectionRecord, Header, PacketRecord, Record
from lb_switch.web import details
from lb_switch.web.scene import Scene
from tests.explain import told


def example() -> tuple[Header, list[Record]]:
    with examples.RECORDING.open("rb") as file:
        recording = Recording(file, "example")
        return recording.header, list(recording)


def told_run() -> tuple[Header, list[Record]]:
    recording = Recording(told.lines(), "told")
    return recording.header, list(recording)


SOURCES = pytest.mark.parametrize("source", [example, told_run], ids=["example", "told"])


def messages(header: Header, records: list[Record]) -> list[dict[str, Any]]:
    scene = Scene(header)
    return [message for record in records for message in scene.of(record)]


@SOURCES
def test_every_packet_has_the_legs_of_its_ladder(source: Any) -> None:
    header, records = source()
    drawer = Rungs(header)
    expected = {}
    for record in records:
        rungs = [rung for rung in drawer.of(record) if rung.has_legs]
        if isinstance(record, PacketRecord):
            expected[record.number] = [
                (rung.left and rung.left.address, rung.right and rung.right.address)
                for rung in rungs
            ]
    seen = {
        each["number"]: [
            (
                step["left"] and step["left"]["address"],
                step["right"] and step["right"]["address"],
            )
            for step in each["steps"]
        ]
        for each in messages(header, records)
        if each["kind"] == "packet" and each["number"] is not None
    }
    assert seen == expected


@SOURCES
def test_the_scene_is_the_picture_of_a_subscriber(source: Any) -> None:
    header, records = source()
    scene, picture = Scene(header), Picture(header)
    for record in records:
        list(scene.of(record))
        picture.learn(record)
    groups = scene.scene()["groups"]
    for group in groups:
        for server in group["real_servers"]:
            address = re.sub(r"^\[?([^]]*?)\]?:\d+$", r"\1", server["address"])
            assert server.pop("name") == header.hosts.get(address, "")
    assert groups == picture.rows()


def test_a_scene_is_stale_when_something_on_it_has_changed() -> None:
    header, records = example()
    scene = Scene(header)
    for record in records:
        list(scene.of(record))
        assert scene.stale is isinstance(record, ConnectionRecord)
        scene.scene()
        assert not scene.stale


@SOURCES
def test_the_fields_of_a_packet_are_those_of_explain_diff(source: Any) -> None:
    header, records = source()
    for record in records:
        if not isinstance(record, PacketRecord):
            continue
        layers = details.of_packet(header, record)["layers"]
        before = [(f.name, f.text) for layer in dissect(record.bytes_before) for f in layer.fields]
        after = [(f.name, f.text) for layer in dissect(record.bytes_after) for f in layer.fields]
        shown = [field for layer in layers for field in layer["fields"]]
        assert [(field["name"], field["before"]) for field in shown] == before
        assert [(field["name"], field["after"]) for field in shown] == after


def test_a_connection_tells_its_way_its_end_and_its_packets() -> None:
    header, records = example()
    found = details.of_connection(header, records, 1)
    assert found is not None
    assert (found["client"], found["virtual"], found["real"]) == (
        "10.0.1.11:40001",
        "10.0.1.100:80",
        "10.0.2.11:8080",
    )
    way = [each["state"] for each in found["states"]]
    assert way[:2] == ["SYN_RECV", "ESTABLISHED"]
    own = [
        each.number
        for each in records
        if isinstance(each, PacketRecord) and each.connection and each.connection.number == 1
    ]
    assert found["packets"] == own
    assert details.of_connection(header, records, 99) is None


def test_why_this_server() -> None:
    header, records = example()
    opening = next(each for each in records if isinstance(each, PacketRecord) and each.choice)
    choice = details.of_packet(header, opening)["choice"]
    assert (choice["scheduler"], choice["name"]) == ("rr", "s1")
    assert choice["said"].startswith("first in rotation (1 of 2 usable)")
    assert choice["candidates"] == ["10.0.2.11:8080", "10.0.2.12:8080"]
    assert choice["facts"]["usable"] == 2


def test_a_ladder_has_its_connection_alone() -> None:
    header, records = example()
    drawn = details.ladder(header, records, 1)
    assert "connection 1, tcp, virtual server web" in drawn
    assert "connection 2," not in drawn


@SOURCES
def test_what_may_concern_a_connection_is_all_that_is_said_of_it(source: Any) -> None:
    header, records = source()
    found = details.by_connection(records)
    assert set(found) == {details.number_of(each) for each in records} - {None}
    for number, own in found.items():
        assert details.of_connection(header, own, number) == details.of_connection(
            header, records, number
        )
        assert details.ladder(header, own, number) == details.ladder(header, records, number)
