"""A recording's lines: what the engine tells is what is read back, and nothing else is accepted."""

from __future__ import annotations

import json

import pytest

from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.packet.protocol import UDP
from lb_switch.engine.switch import Settings, Switch
from lb_switch.stream.encode import Encoder
from lb_switch.stream.schema import (
    SNAP,
    ConnectionRecord,
    Header,
    PacketRecord,
    ProbeRecord,
    ServerRecord,
    decode,
    json_schema,
)
from tests.explain import told
from tests.support.dialogue import CLIENT, VIP, Dialogue, make_switch, send
from tests.support.fragments import fragments
from tests.support.packets import tcp, udp


def test_the_vector_is_what_this_switch_tells() -> None:
    assert told.VECTOR.read_bytes().splitlines(keepends=True) == told.lines()


def test_the_header_describes_the_switch() -> None:
    header = Header.model_validate_json(told.lines()[0])
    assert (header.format, header.version, header.time, header.snap) == (
        "lb-switch recording",
        3,
        100.0,
        192,
    )
    assert header.hosts["10.0.2.11"] == "s1"
    web = header.virtual_servers[0]
    assert (web.name, web.address, web.protocol, web.scheduler) == (
        "web",
        "10.0.1.100:80",
        "tcp",
        "rr",
    )
    assert [each.address for each in web.real_servers] == [
        "10.0.2.11:8080",
        "10.0.2.12:8080",
        "10.0.2.13:8080",
    ]


def _told_by(switch: Switch) -> tuple[list[Event], list[bytes]]:
    encoder = Encoder(switch.listeners.number_of)
    events: list[Event] = []
    lines: list[bytes] = []

    def listen(event: Event) -> None:
        events.append(event)
        lines.append(encoder.encode(event))

    switch.listen(listen)
    return events, lines


def test_a_packet_is_told_as_the_engine_saw_it() -> None:
    talk = Dialogue(make_switch())
    talk.now = 7.25
    events, lines = _told_by(talk.switch)
    talk.client("S", b"x" * 400)
    (event,) = [each for each in events if isinstance(each, PacketEvent)]
    record = decode(lines[-1])
    assert isinstance(record, PacketRecord)
    assert (record.time, record.number, record.length) == (7.25, 1, 440)
    assert (record.bytes_before, record.bytes_after) == (event.before[:SNAP], event.after[:SNAP])
    assert not record.whole
    assert (record.verdict, record.reason) == ("forward", "new_connection")
    assert (record.old_state, record.state, record.timeout) == (None, "SYN_RECV", 60.0)
    connection = record.connection
    assert connection is not None
    assert connection.model_dump() == {
        "number": 1,
        "protocol": "tcp",
        "client": "10.0.1.11:40000",
        "virtual": "10.0.1.100:80",
        "source": "10.0.1.11:40000",
        "real": "10.0.2.11:8080",
    }


def test_the_choice_and_who_was_passed_over() -> None:
    choice = told.packet(1).choice
    assert choice is not None
    assert (choice.real_server, choice.scheduler, choice.persistent) == (
        "10.0.2.11:8080",
        "rr",
        False,
    )
    assert choice.rule == "turn"
    assert choice.facts == {"position": 0, "usable": 1, "after": ""}
    assert choice.candidates == ("10.0.2.11:8080",)
    assert [(each.address, each.because) for each in choice.passed_over] == [
        ("10.0.2.12:8080", "down"),
        ("10.0.2.13:8080", "drained"),
    ]
    assert told.packet(2).choice is None, "a known connection is not scheduled"


def test_nobody_to_choose_from_is_told_with_the_whole_group() -> None:
    choice = told.packet(30).choice
    assert choice is not None
    assert (choice.real_server, choice.candidates) == (None, ())
    assert [each.because for each in choice.passed_over] == ["down", "down", "drained"]


def test_answers_and_released_packets_are_told() -> None:
    refused, released = told.packet(10), told.packet(18)
    assert (refused.verdict, refused.sent_count, refused.sent[0].length) == ("reply", 1, 40)
    assert (released.verdict, released.sent_count) == ("forward", 1)


def test_a_packet_that_stays_as_it_is_says_so_briefly() -> None:
    passed = told.packet(14)
    assert passed.after is None
    assert passed.bytes_after == passed.bytes_before


def test_a_connection_from_its_first_packet_to_its_end() -> None:
    stages = [
        (each.stage, each.old_state, each.state, each.cause)
        for each in told.records()
        if isinstance(each, ConnectionRecord) and each.connection.number == 1
    ]
    assert stages == [
        ("opened", None, "SYN_RECV", None),
        ("changed", "SYN_RECV", "ESTABLISHED", None),
        ("changed", "ESTABLISHED", "FIN_WAIT", None),
        ("changed", "FIN_WAIT", "TIME_WAIT", None),
        ("closed", "TIME_WAIT", "TIME_WAIT", "timeout"),
    ]


def test_servers_and_probes() -> None:
    probe, server = told.records()[:2]
    assert isinstance(probe, ProbeRecord)
    assert isinstance(server, ServerRecord)
    assert (probe.kind, probe.passed, probe.finding, probe.became) == (
        "http",
        False,
        "connect refused",
        "down",
    )
    assert (server.real_server.address, server.real_server.healthy) == ("10.0.2.12:8080", False)


def test_a_number_belongs_to_one_connection() -> None:
    switch = make_switch()
    _events, lines = _told_by(switch)
    for port in (40000, 40001, 40000):
        send(switch, tcp((CLIENT[0], port), VIP, "S"))
    numbers = [
        record.connection.number
        for record in map(decode, lines)
        if isinstance(record, PacketRecord) and record.connection
    ]
    assert numbers == [1, 2, 1]


def test_the_encoder_forgets_closed_connections() -> None:
    talk = Dialogue(make_switch())
    teller = told.Teller(talk.switch)
    talk.handshake()
    talk.client("R")
    talk.wait(60)
    assert len(talk.switch.connections) == 0
    assert not teller.encoder._connections


@pytest.mark.parametrize("number", range(1, 8))
def test_what_is_missing_or_unknown_is_refused(number: int) -> None:
    value = json.loads(told.lines()[number])
    with pytest.raises(ValueError, match="extra"):
        decode(json.dumps({**value, "colour": "red"}))
    for key in value:
        less = {each: value[each] for each in value if each != key}
        with pytest.raises(ValueError, match=r"missing|Unable to extract tag|discriminator"):
            decode(json.dumps(less))


def test_every_field_of_the_schema_is_listed() -> None:
    schema = json_schema()
    names = set(schema["$defs"])
    assert {"Header", "PacketRecord", "ConnectionRecord", "ServerRecord", "ProbeRecord"} <= names
    assert {"DroppedRecord", "EndRecord", "ChoiceEntry", "ConnectionEntry"} <= names
    for table in schema["$defs"].values():
        assert table["additionalProperties"] is False
        assert table["description"]


def test_a_fragment_that_outlives_its_connection_is_told_with_that_ones_number() -> None:
    switch = make_switch(settings=Settings(max_connections=1), protocols=(UDP,))
    _, lines = _told_by(switch)
    first, rest = fragments(udp(CLIENT, VIP, bytes(1600)), [100])
    send(switch, first)
    send(switch, udp((CLIENT[0], 2), VIP, b"the table is full: the other has to go"))
    send(switch, rest)
    send(switch, udp((CLIENT[0], 3), VIP, b"and one more"))
    numbers = [
        record.connection.number
        for record in map(decode, lines)
        if isinstance(record, PacketRecord) and record.connection is not None
    ]
    assert numbers == [1, 2, 1, 3]
